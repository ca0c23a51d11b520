import { createContext, use } from 'react';
import { browser } from '../host/browser';
import type { en } from './en';
import { format, type Params } from './format';

export type Key = keyof typeof en;
export type Catalogue = Record<Key, string>;
export const languages = { en: 'English', ko: '한국어 (Korean)' } as const;
export type Language = keyof typeof languages | 'en-XA';

export interface Text {
  language: Language;
  t: (key: Key, params?: Params) => string;
}

const stored = 'language';

/** The person's choice, else the browser's first language that is here. */
export function chosenLanguage(): Language {
  const kept = browser.recall(stored);
  if (kept === 'en' || kept === 'ko' || kept === 'en-XA') return kept;
  for (const tag of navigator.languages) {
    const base = tag.split('-')[0];
    if (base === 'en' || base === 'ko') return base;
  }
  return 'en';
}

export function chooseLanguage(language: Language): void {
  browser.keep(stored, language);
}

/** Loads the catalogue, and for Korean the faces that a machine may lack. */
export async function loadText(language: Language): Promise<Text> {
  const catalogue = await loadCatalogue(language);
  document.documentElement.lang = language;
  return { language, t: (key, params = {}) => format(catalogue[key], params, language) };
}

async function loadCatalogue(language: Language): Promise<Catalogue> {
  if (language === 'ko') {
    loadHangul();
    return (await import('./ko')).ko;
  }
  const { en } = await import('./en');
  if (language === 'en') return en;
  const { pseudo } = await import('./pseudo');
  return Object.fromEntries(Object.entries(en).map(([k, v]) => [k, pseudo(v)])) as Catalogue;
}

const hangul = /[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]/;

/** Loads the list of Korean faces; a machine that has its own fetches none of them. */
function loadHangul(): void {
  void import('@fontsource-variable/noto-sans-kr/wght.css');
}

/** Loads the faces when names from outside have Hangul in them. */
export function seeHangul(text: string): void {
  if (hangul.test(text)) loadHangul();
}

export const TextContext = createContext<Text | null>(null);

export function useText(): Text {
  const text = use(TextContext);
  if (!text) throw new Error('useText outside of TextContext');
  return text;
}
