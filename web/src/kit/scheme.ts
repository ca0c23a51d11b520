import type { MantineColorScheme, MantineColorSchemeManager } from '@mantine/core';
import { browser } from '../host/browser';

const stored = 'theme';

/** Keeps light, dark or auto where the rest of the preferences are. */
export const schemes: MantineColorSchemeManager = {
  get: (fallback) => {
    const kept = browser.recall(stored);
    return kept === 'light' || kept === 'dark' || kept === 'auto' ? kept : fallback;
  },
  set: (value: MantineColorScheme) => browser.keep(stored, value),
  subscribe: () => {},
  unsubscribe: () => {},
  clear: () => browser.keep(stored, null),
};
