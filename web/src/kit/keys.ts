import { useEffect, useRef } from 'react';
import { browser } from '../host/browser';

const stored = 'letter-keys';

/** Single-letter keys can be turned off (WCAG 2.1.4). */
export const keysAreOn = () => browser.recall(stored) !== 'off';
export const turnKeys = (on: boolean) => browser.keep(stored, on ? null : 'off');

/** Whether a key press belongs to what has the focus. */
function typing(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName) || target.closest('[role=dialog],[role=menu]') !== null;
}

/**
 * Keys of a page: "/" or "?" alone, "g r" one after the other. They do nothing
 * while a field, menu or dialog has the focus, or with a modifier held.
 */
export function useKeys(keys: Record<string, () => void>): void {
  const latest = useRef(keys);
  useEffect(() => {
    latest.current = keys;
  });
  useEffect(() => {
    let first = '';
    let since = 0;
    const press = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || typing(e.target) || !keysAreOn()) return;
      const pair = first && e.timeStamp - since < 1500 ? `${first} ${e.key}` : '';
      first = e.key;
      since = e.timeStamp;
      const act = latest.current[pair] ?? latest.current[e.key];
      if (!act) return;
      e.preventDefault();
      first = '';
      act();
    };
    document.addEventListener('keydown', press);
    return () => document.removeEventListener('keydown', press);
  }, []);
}
