import { useMediaQuery } from '@mantine/hooks';
import { defaultRangeExtractor, useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useRef, useState, type KeyboardEvent } from 'react';
import type { Resource } from '../../../api/cluster';
import { browser } from '../../../host/browser';
import { useText } from '../../../i18n/text';
import { keysAreOn } from '../../../kit/keys';
import { mainCommand, type Filter } from '../model';
import css from '../resources.module.css';
import { ConnectMenu, type Anchor } from './ConnectMenu';
import { Row } from './Row';

interface Props {
  rows: Resource[];
  twice: Set<string>;
  filter: Filter;
  selected: string | undefined;
  onOpen: (id: string) => void;
  onToggle: (key: string, value: string) => void;
}

/** The virtual list. Rows hold no kit component; one menu serves all of them. */
export function List({ rows, twice, filter, selected, onOpen, onToggle }: Props) {
  const { t } = useText();
  const narrow = useMediaQuery('(max-width: 719.98px)', false, { getInitialValueInEffect: false });
  const scroll = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState(0);
  const [menu, setMenu] = useState<Anchor | null>(null);
  const [said, setSaid] = useState('');
  const wanted = useRef<number | null>(null);
  const height = narrow ? 68 : 48;
  const current = Math.min(active, rows.length - 1);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => height,
    getItemKey: (i) => rows[i]?.id ?? i,
    overscan: 8,
    useFlushSync: false,
    // The row that has the focus stays, however far it is scrolled away.
    rangeExtractor: (range) => [...new Set([...defaultRangeExtractor(range), current])].toSorted((a, b) => a - b),
  });
  useEffect(() => virtual.measure(), [virtual, height]);

  const move = (to: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, to));
    wanted.current = next;
    setActive(next);
    virtual.scrollToIndex(next);
    if (next === current) document.getElementById(`row-${next}`)?.focus(); // from a button of the row
  };
  useEffect(() => {
    if (wanted.current !== current) return;
    wanted.current = null;
    document.getElementById(`row-${current}`)?.focus();
  }, [current]);

  const connect = (index: number) => {
    const button = document.querySelector<HTMLElement>(`#row-${index} [data-connect]`);
    const resource = rows[index];
    if (button && resource) setMenu({ resource, button });
  };
  const copy = async (index: number) => {
    const command = rows[index] && mainCommand(rows[index], twice);
    if (command === undefined) return;
    setSaid(t((await browser.copy(command)) ? 'resources.copied' : 'command.refused', { command }));
  };
  const keys = (e: KeyboardEvent) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const onRow = e.target instanceof HTMLElement && e.target.role === 'row';
    const letters = keysAreOn();
    const does: Record<string, (() => unknown) | false> = {
      ArrowDown: () => move(current + 1),
      ArrowUp: () => move(current - 1),
      Home: () => move(0),
      End: () => move(rows.length - 1),
      PageDown: () => move(current + 10),
      PageUp: () => move(current - 10),
      Enter: onRow && (() => onOpen(rows[current]!.id)),
      j: letters && (() => move(current + 1)),
      k: letters && (() => move(current - 1)),
      c: letters && (() => connect(current)),
      y: letters && (() => void copy(current)),
    };
    const act = does[e.key];
    if (!act) return;
    e.preventDefault();
    act();
  };

  return (
    <>
      <div ref={scroll} className={css.scroll}>
        <div role="grid" aria-label={t('resources.list')} aria-rowcount={rows.length + 1} onKeyDown={keys} className={css.grid}>
          <div role="row" aria-rowindex={1} className="visually-hidden">
            {(['name', 'labels', 'connect'] as const).map((c) => (
              <span key={c} role="columnheader">
                {t(`resources.column.${c}`)}
              </span>
            ))}
          </div>
          <div role="rowgroup" className={css.rows} style={{ height: virtual.getTotalSize() }}>
            {virtual.getVirtualItems().map((item) => {
              const resource = rows[item.index];
              if (!resource) return null;
              return (
                <Row
                  key={item.key}
                  resource={resource}
                  index={item.index}
                  top={item.start}
                  height={height}
                  narrow={narrow}
                  active={item.index === current}
                  selected={resource.id === selected}
                  menuOpen={menu?.resource.id === resource.id}
                  filter={filter}
                  onActive={setActive}
                  onOpen={onOpen}
                  onToggle={onToggle}
                  onConnect={connect}
                />
              );
            })}
          </div>
        </div>
      </div>
      <ConnectMenu anchor={menu} twice={twice} onClose={() => setMenu(null)} onCopied={setSaid} />
      <p className="visually-hidden" role="status">
        {said}
      </p>
    </>
  );
}
