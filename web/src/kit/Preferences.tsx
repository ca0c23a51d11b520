import { useMantineColorScheme, type MantineColorScheme } from '@mantine/core';
import { Languages, SunMoon } from 'lucide-react';
import { languages, useText, type Language } from '../i18n/text';
import { useChangeLanguage } from './language';
import css from './preferences.module.css';

/** Language and theme, for pages without a menu. Plain selects: they work everywhere. */
export function Preferences() {
  const { t, language } = useText();
  const change = useChangeLanguage();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  return (
    <>
      <label className={css.pick}>
        <Languages size={16} aria-hidden />
        <span className="visually-hidden">{t('prefs.language')}</span>
        <select value={language} onChange={(e) => change(e.target.value as Language)}>
          {Object.entries(languages).map(([tag, name]) => (
            <option key={tag} value={tag} lang={tag}>
              {name}
            </option>
          ))}
          {language === 'en-XA' && <option value="en-XA">{language}</option>}
        </select>
      </label>
      <label className={css.pick}>
        <SunMoon size={16} aria-hidden />
        <span className="visually-hidden">{t('prefs.theme')}</span>
        <select value={colorScheme} onChange={(e) => setColorScheme(e.target.value as MantineColorScheme)}>
          <option value="auto">{t('prefs.theme.auto')}</option>
          <option value="light">{t('prefs.theme.light')}</option>
          <option value="dark">{t('prefs.theme.dark')}</option>
        </select>
      </label>
    </>
  );
}
