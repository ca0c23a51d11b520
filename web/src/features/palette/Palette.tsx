import { Modal } from '@mantine/core';
import { useEffect, useId, useRef, useState, type KeyboardEvent } from 'react';
import { useText } from '../../i18n/text';
import type { Entry } from './model';
import css from './palette.module.css';

interface Props {
  /** The answers to what is typed, best first. */
  answer: (typed: string) => Entry[];
  /** What Enter does when nothing matches. */
  search: (typed: string) => void;
  onClose: () => void;
}

/** One field over everything: type, Enter. */
export function Palette({ answer, search, onClose }: Props) {
  const { t } = useText();
  const id = useId();
  const [typed, setTyped] = useState('');
  const [at, setAt] = useState(0);
  const entries = answer(typed);
  const current = Math.min(at, entries.length - 1);
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' });
  }, [current, typed]);
  const run = (entry: Entry | undefined) => {
    onClose();
    if (entry) entry.run();
    else if (typed.trim()) search(typed.trim());
  };
  const keys = (e: KeyboardEvent) => {
    if (e.nativeEvent.isComposing) return;
    const last = entries.length - 1;
    if (e.key === 'ArrowDown') setAt(current >= last ? 0 : current + 1);
    else if (e.key === 'ArrowUp') setAt(current <= 0 ? last : current - 1);
    else if (e.key === 'Enter') run(entries[current]);
    else return;
    e.preventDefault();
  };
  return (
    <Modal
      opened
      onClose={onClose}
      withCloseButton={false}
      transitionProps={{ duration: 0 }}
      size={600}
      yOffset="12dvh"
      padding={0}
      title={t('palette.title')}
      classNames={{ header: 'visually-hidden' }}
    >
      <input
        className={css.input}
        data-autofocus
        role="combobox"
        aria-expanded
        aria-controls={`${id}-list`}
        aria-activedescendant={entries.length ? `${id}-${current}` : undefined}
        aria-label={t('nav.search')}
        aria-autocomplete="list"
        placeholder={t('nav.search')}
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
        maxLength={500}
        value={typed}
        onChange={(e) => {
          setTyped(e.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={keys}
      />
      <ul className={css.list} id={`${id}-list`} role="listbox" aria-label={t('palette.title')} ref={list}>
        {entries.map((entry, i) => (
          // The keys are the field's own: the list never has the focus.
          <li
            key={entry.id}
            id={`${id}-${i}`}
            role="option"
            aria-selected={i === current}
            className={css.entry}
            onPointerMove={() => setAt(i)}
            onPointerDown={(e) => e.preventDefault()}
            onClick={() => run(entry)}
          >
            <bdi>{entry.title}</bdi>
            <span className={css.group}>{t(`palette.group.${entry.group}`)}</span>
          </li>
        ))}
      </ul>
      {entries.length === 0 && <p className={css.empty}>{t('palette.empty', { q: typed.trim() })}</p>}
      <p className="visually-hidden" role="status">
        {t('palette.count', { n: entries.length })}
      </p>
    </Modal>
  );
}
