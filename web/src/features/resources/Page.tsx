import { Button } from '@mantine/core';
import { Plus } from 'lucide-react';
import { useDeferredValue, useEffect, useMemo, useRef } from 'react';
import type { Resource } from '../../api/cluster';
import { seeHangul, useText } from '../../i18n/text';
import { CopyCommand } from '../../kit/CopyCommand';
import { useKeys } from '../../kit/keys';
import { may, useSession } from '../../session/session';
import { AddPanel } from './parts/AddPanel';
import { DetailsPanel } from './parts/DetailsPanel';
import { FilterBox } from './parts/FilterBox';
import { List } from './parts/List';
import { Failed, FilteredEmpty, Loading, NewEmpty, Stale } from './parts/States';
import { ambiguous, facets, index, listCommand, parse, select, toggle } from './model';
import { useResources } from './queries';
import css from './resources.module.css';

/** What the address holds of this page: filter, selected row, the adding panel. */
export interface Place {
  q?: string;
  sel?: string;
  add?: boolean;
}

interface Props {
  cluster: string;
  place: Place;
  go: (place: Place, how?: { replace?: boolean }) => void;
}

const nothing: Resource[] = [];

/** /web/cluster/NAME/resources */
export function ResourcesPage({ cluster, place, go }: Props) {
  const { t } = useText();
  const { me } = useSession();
  const query = useResources(cluster);
  const box = useRef<HTMLInputElement>(null);
  const all = query.data ?? nothing;
  const q = place.q ?? '';
  const late = useDeferredValue(q);
  const filter = useMemo(() => parse(late), [late]);
  const indexed = useMemo(() => index(all), [all]);
  const rows = useMemo(() => select(indexed, filter), [indexed, filter]);
  const twice = useMemo(() => ambiguous(all), [all]);
  const labels = useMemo(() => facets(all), [all]);
  const canAdd = may(me, 'token', 'create');
  const setFilter = (next: string) => go({ ...place, q: next }, { replace: true });
  const toggleLabel = (key: string, value: string) => setFilter(toggle(q, key, value));
  const close = () => go({ q });

  useEffect(() => {
    document.title = `${t('resources.title')} · ${cluster}`;
  }, [t, cluster]);
  useEffect(() => indexed.forEach((x) => seeHangul(x.text)), [indexed]);
  useKeys({ '/': () => box.current?.focus() });

  const selected = place.sel === undefined ? undefined : all.find((r) => r.id === place.sel);
  const count = rows.length === all.length ? 'resources.count' : 'resources.count.some';
  const panel = place.add || (place.sel !== undefined && query.data !== undefined);
  return (
    <div className={css.page} data-panel={panel || undefined}>
      <section className={css.main} aria-labelledby="page-title">
        <header className={css.head}>
          <h1 className={css.title} id="page-title">
            {t('resources.title')}
            {query.data && <span className={css.count}>{t(count, { n: rows.length, all: all.length })}</span>}
          </h1>
          <AddButton allowed={canAdd} onClick={() => go({ q, add: true })} />
        </header>
        <FilterBox ref={box} value={q} onChange={setFilter} facets={labels} filter={filter} onToggle={toggleLabel} />
        {query.data && query.isError && <Stale at={query.dataUpdatedAt} />}
        {!query.data && query.isError && <Failed fault={query.error} again={() => void query.refetch()} />}
        {query.isPending && <Loading again={() => void query.refetch()} />}
        {query.data && all.length === 0 && <NewEmpty allowed={canAdd} />}
        {all.length > 0 && rows.length === 0 && <FilteredEmpty q={late} clear={() => setFilter('')} />}
        {rows.length > 0 && (
          <List rows={rows} twice={twice} filter={filter} selected={place.sel} onOpen={(id) => go({ q, sel: id })} onToggle={toggleLabel} />
        )}
        <p className="visually-hidden" role="status">
          {query.data && t('resources.shown', { n: rows.length })}
        </p>
        {all.length > 0 && (
          <footer className={css.command}>
            <span>{t('resources.command')}</span>
            <CopyCommand command={listCommand(filter, rows.length ? rows : all)} />
          </footer>
        )}
      </section>
      {place.add && <AddPanel onClose={close} />}
      {!place.add && panel && <DetailsPanel resource={selected} twice={twice} filter={filter} onClose={close} onToggle={toggleLabel} />}
    </div>
  );
}

/** Present for everyone; who may not is told why. */
function AddButton({ allowed, onClick }: { allowed: boolean; onClick: () => void }) {
  const { t } = useText();
  if (allowed) {
    return (
      <Button variant="default" leftSection={<Plus size={16} aria-hidden />} onClick={onClick}>
        {t('resources.add')}
      </Button>
    );
  }
  return (
    <span className={css.denied}>
      <Button variant="default" leftSection={<Plus size={16} aria-hidden />} aria-disabled aria-describedby="add-denied" data-disabled>
        {t('resources.add')}
      </Button>
      <span role="tooltip" id="add-denied" className={css.reason}>
        {t('resources.add.denied')}
      </span>
    </span>
  );
}
