import { createContext, use } from 'react';
import type { Language } from '../i18n/text';

/** Changes the language of the page in place. */
export const ChangeLanguage = createContext<(language: Language) => void>(() => {});

export const useChangeLanguage = () => use(ChangeLanguage);
