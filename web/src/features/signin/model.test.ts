import { describe, expect, it } from 'vitest';
import { characters, codeDigits, grouped, launchOf, route, safeApp, safeReturn } from './model';

const origin = 'https://proxy.example:3080';

describe('safeReturn', () => {
  it('keeps paths of the application', () => {
    expect(safeReturn('/web/cluster/prod/resources?q=env%3Dprod', origin)).toBe('/web/cluster/prod/resources?q=env%3Dprod');
  });
  it.each([
    null, '', 'https://evil.example/', '//evil.example/web/', '/\\evil.example', '/web/../webapi/ping', '/webapi/ping',
    'javascript:alert(1)', '/web/login', '/web/bye', '/web/invite/abc', '/web/./login', '/web//../..//evil.example', '\t/web/',
  ])('goes home instead of %j', (wanted) => expect(safeReturn(wanted, origin)).toBe('/web/'));
});

it('counts characters, not code units', () => {
  expect(characters('비밀번호')).toBe(4);
  expect(characters('🔑🔑')).toBe(2);
});

it('takes the digits of a pasted code', () => {
  expect(codeDigits(' 123 456 ')).toBe('123456');
  expect(codeDigits('12345678')).toBe('123456');
  expect(codeDigits('abc')).toBe('');
});

it('groups a secret', () => {
  expect(grouped('ABCDEFGHIJ')).toBe('ABCD EFGH IJ');
  expect(grouped('ABCD')).toBe('ABCD');
});

it('knows its pages', () => {
  expect(route('/web/login', '', origin)).toEqual({ page: 'login', next: '/web/', ended: false, app: '' });
  expect(route('/web/invite/tok', '', origin)).toEqual({ page: 'link', token: 'tok', purpose: 'invite' });
  expect(route('/web/reset/tok', '', origin)).toEqual({ page: 'link', token: 'tok', purpose: 'reset' });
  expect(route('/web/bye', '', origin)).toEqual({ page: 'bye', app: '' });
  expect(route('/web/invite/', '', origin)).toEqual({ page: 'login', next: '/web/', ended: false, app: '' });
});

it('says what a sign-in is for', () => {
  const at = (next: string, more = '') => route('/web/login', `?redirect_uri=${encodeURIComponent(next)}${more}`, origin);
  expect(at('/web/launch/wiki.proxy.example?path=%2Fa')).toMatchObject({ app: 'wiki.proxy.example', ended: false });
  expect(at('/web/launch/wiki.proxy.example', '&ended=1')).toMatchObject({ app: 'wiki.proxy.example', ended: true });
  expect(at('/web/cluster/c/resources', '&ended=1')).toMatchObject({ app: '', ended: true });
  for (const host of ['%3Cb%3E', 'call%20us%20now', '']) {
    expect(at(`/web/launch/${host}`)).toMatchObject({ app: '' });
    expect(route(`/web/bye/${host}`, '', origin)).toEqual({ page: 'bye', app: '' });
  }
  expect(route('/web/bye/wiki.proxy.example', '', origin)).toEqual({ page: 'bye', app: 'wiki.proxy.example' });
});

describe('the launcher', () => {
  it('reads its address', () => {
    const r = route('/web/launch/wiki.proxy.example', '?path=%2Fa%3Fb&apps=x.example&as=arn', origin);
    expect(r).toEqual({ page: 'launch', launch: { host: 'wiki.proxy.example', path: '/a?b', apps: 'x.example', as: 'arn', chain: false, state: '' } });
    expect(launchOf('w%zz', new URLSearchParams('state=s'))).toMatchObject({ host: 'w%zz', chain: true, state: 's' });
  });
  it('is where a sign-in leads back to', () => {
    expect(safeReturn('/web/launch/wiki.proxy.example?path=%2Fa', origin)).toBe('/web/launch/wiki.proxy.example?path=%2Fa');
  });
  it.each(['http://wiki.example/', 'javascript:alert(1)', '/web/', 'data:text/html,x', ''])('does not follow %s', (url) => {
    expect(safeApp(url)).toBeNull();
  });
  it('follows the proxy to an app', () => {
    expect(safeApp('https://wiki.example:3080/x#y')).toBe('https://wiki.example:3080/x#y');
  });
});
