import { Menu, useMantineColorScheme, type MantineColorScheme } from '@mantine/core';
import { ChevronDown, Ellipsis, Keyboard, LogOut } from 'lucide-react';
import { languages, useText, type Language } from '../../i18n/text';
import { useChangeLanguage } from '../../kit/language';
import { useSession } from '../../session/session';
import css from './frame.module.css';

interface Props {
  label: string;
  /** As an entry of the bottom bar. */
  bar?: boolean;
  onKeys: () => void;
}

const themes: MantineColorScheme[] = ['auto', 'light', 'dark'];

/** The person's own menu: who I am, language, theme, keys, the way out. */
export function AccountMenu({ label, bar = false, onKeys }: Props) {
  const { t, language } = useText();
  const { me, leave } = useSession();
  const change = useChangeLanguage();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  return (
    <Menu position={bar ? 'top-end' : 'bottom-end'} width={260} returnFocus>
      <Menu.Target>
        <button type="button" className={bar ? css.item : css.account} aria-label={bar ? undefined : t('account.label', { user: me.user })} data-account>
          {bar && <Ellipsis size={18} aria-hidden />}
          <bdi>{label}</bdi>
          {!bar && <ChevronDown size={14} aria-hidden />}
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        <div className={css.me}>
          <bdi className={css.meName}>{me.user}</bdi>
          <bdi>{t('account.roles', { roles: me.roles.join(', ') })}</bdi>
          <span>{t('account.version', { version: me.version })}</span>
        </div>
        <Menu.Divider />
        <Menu.Label>{t('prefs.theme')}</Menu.Label>
        <Menu.RadioGroup value={colorScheme} onChange={(v) => setColorScheme(v as MantineColorScheme)}>
          {themes.map((theme) => (
            <Menu.RadioItem key={theme} value={theme}>
              {t(`prefs.theme.${theme}`)}
            </Menu.RadioItem>
          ))}
        </Menu.RadioGroup>
        <Menu.Label>{t('prefs.language')}</Menu.Label>
        <Menu.RadioGroup value={language} onChange={(v) => change(v as Language)}>
          {Object.entries(languages).map(([tag, name]) => (
            <Menu.RadioItem key={tag} value={tag} lang={tag}>
              {name}
            </Menu.RadioItem>
          ))}
        </Menu.RadioGroup>
        <Menu.Divider />
        <Menu.Item leftSection={<Keyboard size={14} aria-hidden />} onClick={onKeys}>
          {t('account.keys')}
        </Menu.Item>
        <Menu.Item leftSection={<LogOut size={14} aria-hidden />} onClick={leave} data-signout>
          {t('account.signout')}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
