import { CircleX } from 'lucide-react';
import type { ReactNode } from 'react';
import type { Fault } from '../api/fault';
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
          <bdi lang="en">
            {fault.message}
            {fault.hint && `: ${fault.hint}`}
          </bdi>
          {fault.request && (
            <div>
              {t('fault.request')} <code>{fault.request}</code>
            </div>
          )}
        </details>
        {children}
      </div>
    </div>
  );
}
