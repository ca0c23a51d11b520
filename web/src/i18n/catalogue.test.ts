import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { faultKinds } from '../api/fault';
import { en } from './en';
import { format, paramsOf } from './format';
import { ko } from './ko';
import { pseudo } from './pseudo';

const src = join(import.meta.dirname, '..');
const code = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((f) => /\.tsx?$/.test(f) && !f.includes('.test.') && !/^i18n\/(en|ko)\.ts$/.test(f))
  .map((f) => readFileSync(join(src, f), 'utf8'))
  .join('\n');

const keys = Object.keys(en) as (keyof typeof en)[];

describe('the catalogues', () => {
  it('have the same keys', () => expect(Object.keys(ko).toSorted()).toEqual(keys.toSorted()));
  it('name the same parameters', () => {
    for (const k of keys) expect(paramsOf(ko[k]), k).toEqual(paramsOf(en[k]));
  });
  it('have words for every kind of fault', () => {
    for (const kind of faultKinds) expect(keys).toContain(`fault.${kind}`);
  });
  it('hold nothing that no page says', () => {
    const made = [/^fault\./, /^prefs\.theme\./, /^palette\.group\./, /^resources\.column\./];
    const unused = keys.filter((k) => !made.some((m) => m.test(k)) && !code.includes(`'${k}'`));
    expect(unused).toEqual([]);
  });
  it('put no particle after a variable in Korean', () => {
    for (const k of keys) expect(ko[k], k).not.toMatch(/\}(을|를|이|가|은|는|와|과|로|으로)(\s|$)/);
  });
  it('end no button with a full stop', () => {
    for (const k of ['signin.submit', 'signin.next', 'invite.finish', 'again', 'resources.add'] as const) {
      expect(en[k]).not.toMatch(/\.$/);
      expect(ko[k]).not.toMatch(/\.$/);
    }
  });
});

describe('format', () => {
  it('fills, counts and keeps what it does not know', () => {
    expect(format('{a} and {b}', { a: 'x', b: 1234 }, 'en')).toBe('x and 1,234');
    expect(format('{n, plural, one {# row} other {# rows of {of}}}', { n: 1, of: 3 }, 'en')).toBe('1 row');
    expect(format('{n, plural, one {# row} other {# rows of {of}}}', { n: 2, of: 3 }, 'en')).toBe('2 rows of 3');
    expect(format('{missing}', {}, 'en')).toBe('{missing}');
    expect(() => format('{open', {}, 'en')).toThrow(SyntaxError);
  });
  it('does not read values as messages', () => {
    expect(format('{a}', { a: '{b}', b: 'no' }, 'en')).toBe('{b}');
  });
  it('keeps parameters in the pseudo language', () => {
    expect(format(pseudo('Hello {user}'), { user: 'alice' }, 'en')).toContain('alice');
    expect(pseudo('Hello {user}')).toContain('{user}');
  });
});
