// A real browser, watched: whatever a page should never do is written down and
// fails the run.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const flags = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/**
 * Starts Chromium with one page on the cluster at `origin`. Pages of `apps` (origins)
 * are other people's: what they do is not watched.
 */
export async function open(origin, shots, { args = [], apps = [] } = {}) {
  const chrome = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    chromiumSandbox: false,
    args: [...flags, ...args],
  });
  const context = await chrome.newContext({
    ignoreHTTPSErrors: true, // a cluster's first certificate is its own
    baseURL: origin,
    locale: 'en-US',
    viewport: { width: 1280, height: 800 },
    reducedMotion: 'reduce',
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  context.setDefaultTimeout(120_000); // a bound against hanging: other tests have the machine too
  const page = await context.newPage();
  const faults = [];
  const theirs = () => apps.some((a) => page.url().startsWith(`${a}/`));
  page.on('pageerror', (e) => theirs() || faults.push(`page error: ${e.message}`));
  page.on('console', (m) => {
    // A refused call is part of what is tested; the browser logs each.
    if (m.type() === 'error' && !theirs() && !m.text().startsWith('Failed to load resource')) faults.push(`console: ${m.text()}`);
  });
  page.on('request', (r) => {
    const url = new URL(r.url());
    if (url.protocol !== 'blob:' && url.origin !== origin && !apps.includes(url.origin) && !theirs()) faults.push(`request outside of the origin: ${url.origin}`);
  });

  return {
    page,
    context,
    faults,
    close: () => chrome.close(),
    /** No accessibility violation, no scrolling sideways, and a picture where asked for. */
    async check(name) {
      await page.waitForLoadState(); // what is read in a page may be there before its sheet is
      await page.evaluate(axe);
      const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
      for (const v of found.violations) {
        faults.push(`axe on ${name}: ${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`);
      }
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (over > 0) faults.push(`${name} scrolls sideways by ${over} px`);
      if (shots) await page.screenshot({ path: join(shots, `${name}.png`) });
    },
    /** Walks the journeys until one fails, tells of each and of what was watched, and ends the process. */
    async walk(journeys, last = () => {}) {
      let failed = false;
      for (const [name, journey] of Object.entries(journeys)) {
        try {
          await journey();
          console.log(`ok   ${name}`);
        } catch (e) {
          failed = true;
          console.log(`FAIL ${name}: ${e.message}\n     at ${page.url()}\n${await page.locator('body').innerText().catch(() => '')}`);
          if (shots) await page.screenshot({ path: join(shots, 'failed.png') });
          break;
        }
      }
      await chrome.close();
      for (const f of faults) console.log(`FAULT ${f}`);
      last();
      process.exit(failed || faults.length ? 1 : 0);
    },
    /** The element with the focus, in a few words. */
    focus: () =>
      page.evaluate(() => {
        const e = document.activeElement;
        return e && e !== document.body ? `${e.tagName.toLowerCase()} ${e.getAttribute('name') ?? e.getAttribute('aria-label') ?? e.textContent}` : '';
      }),
    /** Presses Tab until the focus is on what fits. */
    async tabTo(fits) {
      for (let i = 0; i < 60; i++) {
        if (await page.evaluate(fits)) return;
        await page.keyboard.press('Tab');
      }
      throw new Error(`the Tab key does not reach ${fits}`);
    },
  };
}
