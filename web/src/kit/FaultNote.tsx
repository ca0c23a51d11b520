import { CircleX } from 'lucide-react';
import type { ReactNode } from 'react';
import type { Fault } from '../api/fault';
import { sentence } from '../i18n/format';
import { useText, type Key } from '../i18n/text';
import css from './states.module.css';

/** Says what failed: in words of ours for the kind, the server's own under Details. */
export function FaultNote({ fault, say, children }: { fault: Fault; say?: Key | undefined; children?: ReactNode }) {
  const { t } = useText();
  return (
    <div className={css.note} role="alert">
      <CircleX size={16} aria-hidden />
      <div className={css.noteText}>
        <span>{t(say ?? `fault.${fault.kind}`)}</span>
        <details className={css.details}>
          <summary>{t('fault.details')}</summary>
          <p lang="en">
            <bdi>{sentence(fault.message)}</bdi>
          </p>
          {fault.hint && (
            <p lang="en">
              <bdi>{sentence(fault.hint)}</bdi>
            </p>
          )}
          {fault.request && (
            <p>
              {t('fault.request')} <code>{fault.request}</code>
            </p>
          )}
        </details>
        {children}
      </div>
    </div>
  );
}
