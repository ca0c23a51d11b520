import { CloseButton } from '@mantine/core';
import { useEffect, useId, useRef, type ReactNode } from 'react';
import { useText } from '../i18n/text';
import css from './panel.module.css';

/** Details beside a list; a page of its own on a phone. Escape closes it. */
export function SidePanel({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const { t } = useText();
  const id = useId();
  const head = useRef<HTMLHeadingElement>(null);
  const before = useRef<Element | null>(null);
  useEffect(() => {
    before.current = document.activeElement;
    return () => {
      const back = before.current;
      if (back instanceof HTMLElement && back.isConnected) back.focus();
      else document.getElementById('content')?.focus();
    };
  }, []);
  useEffect(() => head.current?.focus(), [title]);
  return (
    <aside
      className={css.panel}
      aria-labelledby={id}
      onKeyDown={(e) => {
        if (e.key === 'Escape' && !e.defaultPrevented) onClose();
      }}
    >
      <header className={css.head}>
        <h2 id={id} ref={head} tabIndex={-1}>
          <bdi>{title}</bdi>
        </h2>
        <CloseButton aria-label={t('close')} onClick={onClose} />
      </header>
      <div className={css.body}>{children}</div>
    </aside>
  );
}
