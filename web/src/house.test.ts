// The law of this folder (README.md): who may import whom, what a file may hold,
// and what a build may weigh.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';

const src = import.meta.dirname;
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((f) => /\.(ts|tsx)$/.test(f));
const sources = files.filter((f) => !f.includes('.test.'));
const read = (f: string) => readFileSync(join(src, f), 'utf8');

/** What each folder may import of ours besides itself. */
const floors: Record<string, string[]> = {
  host: [],
  i18n: ['host'],
  api: [],
  kit: ['host', 'i18n', 'api'],
  session: ['host', 'api'],
  features: ['kit', 'api', 'session', 'i18n', 'host'],
  documents: ['features', 'kit', 'api', 'session', 'i18n', 'host'],
};

function imports(file: string): string[] {
  const found = [...read(file).matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)];
  return found.map((m) => relative(src, resolve(src, dirname(file), m[1]!)));
}

describe.each(sources.filter((f) => f.includes('/')))('%s', (file) => {
  const [folder, feature] = file.split('/') as [string, string];
  it('imports only what stands below it', () => {
    for (const target of imports(file)) {
      const [to, toFeature, part] = target.split('/');
      if (to === folder && (folder !== 'features' || toFeature === feature)) continue;
      expect(floors[folder], `${file} imports ${target}`).toContain(to);
      if (to === 'features') expect(part, `${file} imports ${target}`).toBe('public');
    }
  });
  it('is short', () => {
    expect(read(file).split('\n').length).toBeLessThanOrEqual(300);
  });
  it('makes no markup or code from text, and leaves the browser to the host', () => {
    expect(read(file)).not.toMatch(/dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function/);
    if (folder !== 'host') expect(read(file)).not.toMatch(/localStorage|sessionStorage|navigator\.clipboard|window\.open/);
  });
  it('has no text of its own', () => {
    if (!file.endsWith('.tsx')) return;
    const said = [...read(file).matchAll(/>\s*([A-Za-z][a-z]+(?: [\w,.']+)*)\s*<\//g)].map((m) => m[1]);
    expect(said).toEqual([]);
  });
});

const dist = resolve(src, '../dist');

/** The bytes that a document makes a browser fetch before it shows anything. */
function weight(document: string): { js: number; css: number } {
  const html = readFileSync(join(dist, document), 'utf8');
  const sum = (pattern: RegExp) =>
    [...html.matchAll(pattern)].reduce((n, m) => n + gzipSync(readFileSync(join(dist, 'assets', m[1]!))).length, 0);
  return { js: sum(/\/web\/assets\/([^"]+\.js)"/g), css: sum(/\/web\/assets\/([^"]+\.css)"/g) };
}

describe.skipIf(!existsSync(join(dist, 'index.html')))('the build', () => {
  const language = () => {
    const sizes = readdirSync(join(dist, 'assets')).filter((f) => /^(en|ko)-.*\.js$/.test(f));
    return Math.max(...sizes.map((f) => gzipSync(readFileSync(join(dist, 'assets', f))).length));
  };
  it('signs in with at most 130 KB', () => {
    const { js, css } = weight('signin.html');
    expect(js + css + language()).toBeLessThanOrEqual(130_000);
  });
  it('shows resources with at most 240 KB of script and 15 KB of style', () => {
    const { js, css } = weight('index.html');
    expect(js + language()).toBeLessThanOrEqual(240_000);
    expect(css).toBeLessThanOrEqual(15_000);
  });
  it('inlines nothing', () => {
    for (const document of ['signin.html', 'index.html']) {
      expect(readFileSync(join(dist, document), 'utf8')).not.toMatch(/<style|style=|<script(?![^>]* src=)|data:/);
    }
  });
});
