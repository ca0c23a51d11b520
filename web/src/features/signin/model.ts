// What the sign-in pages decide without React.
import type { Launch } from '../../api/cluster';

/** The fewest characters of a new password; the auth service has the last word. */
export const minPassword = 12;

/** Where to go after signing in: a path of the application, or its front page. */
export function safeReturn(wanted: string | null, origin: string): string {
  const home = '/web/';
  if (!wanted?.startsWith('/web/')) return home;
  let url: URL;
  try {
    url = new URL(wanted, origin);
  } catch {
    return home;
  }
  if (url.origin !== origin || !url.pathname.startsWith('/web/')) return home;
  if (/^\/web\/(login|invite|reset|bye)(\/|$)/.test(url.pathname)) return home;
  return url.pathname + url.search + url.hash;
}

/** The length of a password as people and the server count it: in characters, not UTF-16 halves. */
export const characters = (password: string): number => [...password].length;

/** The digits of a pasted or typed code, at most six. */
export const codeDigits = (typed: string): string => typed.replace(/\D/g, '').slice(0, 6);

/** A secret in groups of four, to be typed from the screen. */
export const grouped = (secret: string): string => secret.replace(/(.{4})(?=.)/g, '$1 ');

export type Route =
  | { page: 'login'; next: string; ended: boolean; app: string }
  | { page: 'link'; token: string; purpose: 'invite' | 'reset' }
  | { page: 'launch'; launch: Launch }
  | { page: 'bye'; app: string };

/** Which page an address of the sign-in document is. */
export function route(path: string, search: string, origin: string): Route {
  const [, , first, token] = path.split('/');
  if ((first === 'invite' || first === 'reset') && token) return { page: 'link', token, purpose: first };
  if (first === 'launch' && token) return { page: 'launch', launch: launchOf(token, new URLSearchParams(search)) };
  if (first === 'bye') return { page: 'bye', app: hostOf(token ?? '') };
  const q = new URLSearchParams(search);
  const next = safeReturn(q.get('redirect_uri'), origin);
  return { page: 'login', next, ended: q.has('ended'), app: appOf(next) };
}

/** The host of the app that a sign-in leads to; "" where it leads to none. */
function appOf(next: string): string {
  return hostOf(/^\/web\/launch\/([^/?#]+)/.exec(next)?.[1] ?? '');
}

/** A name of a host, as a page may show it; "" for anything else. */
const hostOf = (s: string) => (/^[a-z0-9.-]{1,253}$/i.test(s) ? s : '');

/** What the address of the launcher asks for. The proxy checks all of it. */
export function launchOf(host: string, q: URLSearchParams): Launch {
  let name = host;
  try {
    name = decodeURIComponent(host);
  } catch {
    // Not an address of ours: the proxy knows no such host.
  }
  const at = (key: string) => q.get(key) ?? '';
  return { host: name, path: at('path'), apps: at('apps'), as: at('as'), chain: at('chain') !== '' || at('state') !== '', state: at('state') };
}

/** An address that the proxy named; anything but https is not followed. */
export function safeApp(url: string): string | null {
  try {
    return new URL(url).protocol === 'https:' ? url : null;
  } catch {
    return null;
  }
}
