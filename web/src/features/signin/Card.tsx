import { useEffect, useRef, type ReactNode } from 'react';
import { Mark } from '../../kit/Mark';
import { Preferences } from '../../kit/Preferences';
import css from './signin.module.css';

interface Props {
  title: string;
  cluster?: string | undefined;
  lead?: ReactNode;
  foot?: ReactNode;
  /** Moves the focus to the title, where a step replaced another one. */
  announce?: boolean;
  children?: ReactNode;
}

/** The one card of a sign-in page. */
export function Card({ title, cluster, lead, foot, announce, children }: Props) {
  const head = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = cluster ? `${title} · ${cluster}` : title;
    if (announce) head.current?.focus();
  }, [title, cluster, announce]);
  return (
    <div className={css.page}>
      <main className={css.card}>
        <div className={css.top}>
          <div className={css.brand}>
            <Mark />
            {cluster && <bdi>{cluster}</bdi>}
          </div>
          <h1 className={css.title} ref={head} tabIndex={-1}>
            {title}
          </h1>
          {lead && <p className={css.lead}>{lead}</p>}
        </div>
        {children}
      </main>
      <footer className={css.foot}>
        {foot}
        <div className={css.prefs}>
          <Preferences />
        </div>
      </footer>
    </div>
  );
}
