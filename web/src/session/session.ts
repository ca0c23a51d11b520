import { createContext, use } from 'react';
import { api, type Me } from '../api/cluster';
import type { Fault } from '../api/fault';
import { browser } from '../host/browser';

export interface Session {
  me: Me;
  /** The page asks for the proofs again, in place. */
  renew: () => void;
  /** Signs out and leaves. */
  leave: () => void;
}

export const SessionContext = createContext<Session | null>(null);

export function useSession(): Session {
  const session = use(SessionContext);
  if (!session) throw new Error('useSession outside of SessionContext');
  return session;
}

const tabs = 'session';
const tab = crypto.randomUUID(); // what this one says it hears itself, on its other channel

/** Ends the session here and in every other tab, or throws a Fault. Preferences outlive it. */
export async function signOut(): Promise<void> {
  const kept = ['theme', 'language'].map((key) => [key, browser.recall(key)] as const);
  await api.signOut();
  for (const [key, value] of kept) browser.keep(key, value);
  const channel = new BroadcastChannel(tabs);
  channel.postMessage(tab);
  channel.close();
  browser.leaveFor('/web/bye');
}

/** Leaves when another tab signs out. Returns how to stop listening. */
export function leaveWithOtherTabs(): () => void {
  const channel = new BroadcastChannel(tabs);
  channel.onmessage = (e) => {
    if (e.data !== tab) browser.leaveFor('/web/bye');
  };
  return () => channel.close();
}

/**
 * The sign-in page, with the way back. Of a session that is over the cluster says how to
 * go on; of none it has nothing to say, and neither has the page.
 */
export const signInPath = (why?: Fault) =>
  `/web/login?redirect_uri=${encodeURIComponent(location.pathname + location.search + location.hash)}${why?.hint ? '&ended=1' : ''}`;

/** Whole minutes until a time in Unix seconds, never less than none. */
export const minutesUntil = (expires: number, now: number) => Math.max(0, Math.floor((expires * 1000 - now) / 60_000));

/** What the server said this person may do; the page itself decides nothing. */
export const may = (me: Me, kind: string, verb: string) => me.rights?.[kind]?.includes(verb) ?? false;
