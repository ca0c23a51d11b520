import { Search, Server } from 'lucide-react';
import { useState, type ReactNode } from 'react';
import { useText } from '../../i18n/text';
import { useKeys } from '../../kit/keys';
import { Mark } from '../../kit/Mark';
import { useSession } from '../../session/session';
import { AccountMenu } from './AccountMenu';
import { KeysDialog } from './KeysDialog';
import { TimeLeft } from './TimeLeft';
import css from './frame.module.css';

interface Props {
  cluster: string;
  /** The page that is shown, for the mark in the navigation. */
  here: 'resources' | null;
  resourcesPath: string;
  goResources: () => void;
  openPalette: () => void;
  children: ReactNode;
}

/** Header, rail (a bar at the bottom of a phone), and the page. */
export function Frame({ cluster, here, resourcesPath, goResources, openPalette, children }: Props) {
  const { t } = useText();
  const { me } = useSession();
  const [help, setHelp] = useState(false);
  useKeys({ '?': () => setHelp(true), 'g r': goResources });
  const resources = (
    <a
      className={css.item}
      href={resourcesPath}
      aria-current={here === 'resources' ? 'page' : undefined}
      onClick={(e) => {
        if (e.ctrlKey || e.metaKey || e.shiftKey || e.button !== 0) return;
        e.preventDefault();
        goResources();
      }}
    >
      <Server size={18} aria-hidden />
      <span>{t('nav.resources')}</span>
    </a>
  );
  return (
    <div className={css.frame}>
      <a className={css.skip} href="#content">
        {t('nav.skip')}
      </a>
      <header className={css.header}>
        <div className={css.brand}>
          <Mark />
          <bdi>{cluster}</bdi>
        </div>
        <button type="button" className={css.search} onClick={openPalette} aria-keyshortcuts="Control+K">
          <Search size={16} aria-hidden />
          <span>{t('nav.search')}</span>
          <kbd aria-hidden>{/Mac/.test(navigator.userAgent) ? '⌘ K' : 'Ctrl K'}</kbd>
        </button>
        <div className={css.right}>
          <TimeLeft />
          <span className={css.wide}>
            <AccountMenu label={me.user} onKeys={() => setHelp(true)} />
          </span>
        </div>
      </header>
      <nav className={css.rail} aria-label={t('nav.label')}>
        <h2 className={css.group}>{t('nav.access')}</h2>
        {resources}
      </nav>
      <main className={css.content} id="content" tabIndex={-1}>
        {children}
      </main>
      <nav className={css.bar} aria-label={t('nav.label')}>
        {resources}
        <button type="button" className={css.item} onClick={openPalette}>
          <Search size={18} aria-hidden />
          <span>{t('nav.search.short')}</span>
        </button>
        <AccountMenu label={t('nav.more')} bar onKeys={() => setHelp(true)} />
      </nav>
      <KeysDialog opened={help} onClose={() => setHelp(false)} />
    </div>
  );
}
