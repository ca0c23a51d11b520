// The one place that touches clipboard, storage and the address bar. A desktop
// window would bring its own.

export interface Host {
  /** Puts text on the clipboard; false where the browser refuses. */
  copy(text: string): Promise<boolean>;
  /** Reads a kept preference. */
  recall(key: string): string | null;
  /** Keeps a preference; null forgets it. A browser without storage keeps nothing. */
  keep(key: string, value: string | null): void;
  /** Leaves this document for another one, without a way back. */
  leaveFor(path: string): void;
}

export const browser: Host = {
  async copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false;
    }
  },
  recall(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  keep(key, value) {
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, value);
    } catch {
      // Storage is turned off: the preference lasts as long as the page.
    }
  },
  leaveFor(path) {
    location.replace(path);
  },
};
