import type { Resource } from '../../../api/cluster';
import { sentence } from '../../../i18n/format';
import { useText, type Key } from '../../../i18n/text';
import { CopyCommand } from '../../../kit/CopyCommand';
import { SidePanel } from '../../../kit/SidePanel';
import { appCommands, holds, launchPath, sshCommand, visible, type Filter } from '../model';
import css from '../resources.module.css';

interface Props {
  resource: Resource | undefined;
  twice: Set<string>;
  filter: Filter;
  onClose: () => void;
  onToggle: (key: string, value: string) => void;
}

/** Everything about one resource, and its commands. */
export function DetailsPanel({ resource: r, twice, filter, onClose, onToggle }: Props) {
  const { t } = useText();
  if (!r) {
    return (
      <SidePanel title={t('panel.details')} onClose={onClose}>
        <p>{t('panel.gone')}</p>
      </SidePanel>
    );
  }
  const facts: [Key, string | undefined][] = [
    ['panel.ill', r.ill && sentence(r.ill)],
    ['panel.description', r.description],
    ['panel.address', r.tunnel && r.kind !== 'app' ? t('resources.tunnel') : r.address],
    ['panel.type', r.type],
    ['panel.ports', r.ports?.join(', ')],
    ['panel.version', r.version],
    ['panel.id', r.kind === 'node' ? r.id : undefined],
  ];
  return (
    <SidePanel title={visible(r.name)} onClose={onClose}>
      <section className={css.group}>
        <h3>{t('panel.logins')}</h3>
        {r.kind === 'app' && <AppWays resource={r} />}
        {r.kind !== 'app' && r.logins.length === 0 && <p className={css.quiet}>{t('resources.connect.none')}</p>}
        {(r.kind === 'app' ? [] : r.logins).map((login) => (
          <CopyCommand key={login} command={sshCommand(r, login, twice)} />
        ))}
      </section>
      <dl className={css.facts}>
        {facts.map(
          ([name, value]) =>
            value && (
              <div key={name}>
                <dt>{t(name)}</dt>
                <dd className={name === 'panel.ill' ? css.ill : undefined}>
                  <bdi>{visible(value)}</bdi>
                </dd>
              </div>
            ),
        )}
      </dl>
      <section className={css.group}>
        <h3>{t('panel.labels')}</h3>
        <ul className={`${css.chips} ${css.whole}`}>
          {Object.entries(r.labels)
            .toSorted(([a], [b]) => a.localeCompare(b))
            .map(([k, v]) => (
              <li key={k}>
                <button type="button" className={css.chip} data-on={holds(filter, k, v) || undefined} aria-pressed={holds(filter, k, v)} onClick={() => onToggle(k, v)}>
                  <bdi>{visible(`${k}=${v}`)}</bdi>
                </button>
              </li>
            ))}
        </ul>
      </section>
    </SidePanel>
  );
}

/** How an app is opened here, and reached from a terminal. */
function AppWays({ resource: r }: { resource: Resource }) {
  const { t } = useText();
  const as = r.cloud === undefined ? [undefined] : r.logins;
  return (
    <>
      {as.length === 0 && <p className={css.quiet}>{t('app.none')}</p>}
      {as.map((who) => {
        const to = launchPath(r, who);
        return (
          <div key={who ?? ''} className={css.group}>
            {to && (
              <p>
                <a href={to} target="_blank" rel="noopener">
                  <bdi>{visible(who ?? r.address ?? r.name)}</bdi>
                </a>
              </p>
            )}
            {appCommands(r, who).map((command) => (
              <CopyCommand key={command} command={command} />
            ))}
          </div>
        );
      })}
    </>
  );
}
