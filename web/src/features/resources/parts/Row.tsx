import { AppWindow, Cable, ChevronDown, Server, Square } from 'lucide-react';
import { memo } from 'react';
import type { Resource } from '../../../api/cluster';
import { useText } from '../../../i18n/text';
import { holds, visible, type Filter } from '../model';
import css from '../resources.module.css';

interface Props {
  resource: Resource;
  index: number;
  top: number;
  height: number;
  narrow: boolean;
  active: boolean;
  selected: boolean;
  menuOpen: boolean;
  filter: Filter;
  onActive: (index: number) => void;
  onOpen: (id: string) => void;
  onToggle: (key: string, value: string) => void;
  onConnect: (index: number) => void;
}

const shownLabels = 3;

/** One resource. Only the row in hand has stops for the Tab key. */
export const Row = memo(function Row(p: Props) {
  const { t } = useText();
  const { resource: r, index, active } = p;
  const stop = active ? 0 : -1;
  const app = r.kind === 'app';
  const how = r.tunnel && !app ? t('resources.tunnel') : (r.address ?? r.type);
  const second = [how, r.version, r.description].filter(Boolean).join(' · ');
  const opens = r.launch !== undefined;
  return (
    <div
      role="row"
      id={`row-${index}`}
      aria-rowindex={index + 2}
      aria-selected={p.selected}
      tabIndex={stop}
      className={css.row}
      style={{ transform: `translateY(${p.top}px)`, height: p.height }}
      onFocus={() => p.onActive(index)}
    >
      <div role="gridcell" className={css.name}>
        <Kind resource={r} />
        <div className={css.nameText}>
          <span className={css.first}>
            <button type="button" className={css.link} tabIndex={stop} onClick={() => p.onOpen(r.id)}>
              <bdi>{visible(r.name)}</bdi>
            </button>
            {r.ill && (
              <span className={css.ill}>
                <Square size={8} fill="currentColor" aria-hidden /> {t('resources.ill')}
              </span>
            )}
          </span>
          <bdi className={css.second}>{visible(second)}</bdi>
        </div>
      </div>
      <div role="gridcell" className={css.labels}>
        <Labels {...p} stop={stop} />
      </div>
      <div role="gridcell" className={css.connectCell}>
        <button
          type="button"
          data-connect
          className={css.connect}
          tabIndex={stop}
          aria-haspopup="menu"
          aria-expanded={p.menuOpen}
          aria-label={t(opens ? 'app.open' : 'resources.connect.to', { name: visible(r.name) })}
          onClick={() => p.onConnect(index)}
        >
          <span>{t(opens ? 'app.open.here' : 'resources.connect')}</span>
          <ChevronDown size={14} aria-hidden />
        </button>
      </div>
    </div>
  );
});

function Kind({ resource: r }: { resource: Resource }) {
  const { t } = useText();
  if (r.kind !== 'app') return <Server size={18} role="img" aria-label={t('resources.kind.node')} />;
  const Glyph = r.type === 'TCP' ? Cable : AppWindow;
  return <Glyph size={18} role="img" aria-label={t('resources.kind.app')} />;
}

function Labels({ resource, filter, narrow, stop, onOpen, onToggle }: Props & { stop: number }) {
  const { t } = useText();
  const labels = Object.entries(resource.labels).toSorted(([a], [b]) => Number(a.includes('/')) - Number(b.includes('/')));
  const most = narrow ? 2 : shownLabels;
  const rest = labels.length - most;
  return (
    <>
      {labels.slice(0, most).map(([k, v]) => {
        const label = visible(`${k}=${v}`);
        return (
          <button
            key={k}
            type="button"
            className={css.chip}
            data-on={holds(filter, k, v) || undefined}
            aria-pressed={holds(filter, k, v)}
            aria-label={t('resources.label', { label })}
            tabIndex={stop}
            onClick={() => onToggle(k, v)}
          >
            <bdi>{label}</bdi>
          </button>
        );
      })}
      {rest > 0 && (
        <button
          type="button"
          className={css.more}
          tabIndex={stop}
          aria-label={t('resources.more', { n: rest })}
          onClick={() => onOpen(resource.id)}
        >
          +{rest}
        </button>
      )}
    </>
  );
}
