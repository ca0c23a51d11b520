import { Button } from '@mantine/core';
import { WifiOff } from 'lucide-react';
import { useEffect, useState } from 'react';
import type { Fault } from '../../../api/fault';
import { useText } from '../../../i18n/text';
import { CopyCommand } from '../../../kit/CopyCommand';
import { FaultNote } from '../../../kit/FaultNote';
import states from '../../../kit/states.module.css';
import { visible } from '../model';
import css from '../resources.module.css';

/** Nothing at first, then rows to come, and after ten seconds a sentence. */
export function Loading({ again }: { again: () => void }) {
  const { t } = useText();
  const [long, setLong] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLong(true), 10_000);
    return () => clearTimeout(timer);
  }, []);
  return (
    <>
      <div className={css.skeleton} aria-hidden>
        {Array.from({ length: 8 }, (_, i) => (
          <div key={i} />
        ))}
      </div>
      {long && (
        <div className={states.state} role="status">
          <p>{t('resources.waiting')}</p>
          <Button variant="default" onClick={again}>
            {t('again')}
          </Button>
        </div>
      )}
    </>
  );
}

/** The rows stay; this line says how old they are. */
export function Stale({ at }: { at: number }) {
  const { t, language } = useText();
  const time = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit' }).format(at);
  return (
    <p className={css.stale} role="status">
      <WifiOff size={14} aria-hidden />
      {t('resources.stale', { time })}
    </p>
  );
}

export function Failed({ fault, again }: { fault: Fault; again: () => void }) {
  const { t } = useText();
  const mayHelp = fault.kind !== 'denied' && fault.kind !== 'unauthenticated';
  return (
    <div className={states.state}>
      <h2 className={states.head}>{t('resources.failed')}</h2>
      <FaultNote fault={fault} />
      {mayHelp && (
        <Button variant="default" onClick={again}>
          {t('again')}
        </Button>
      )}
    </div>
  );
}

/** Nothing yet: what to do, and its command. */
export function NewEmpty({ allowed }: { allowed: boolean }) {
  const { t } = useText();
  return (
    <div className={states.state}>
      <h2 className={states.head}>{t('resources.empty')}</h2>
      <p className={states.body}>{t(allowed ? 'resources.empty.add' : 'resources.empty.denied')}</p>
      {allowed && <CopyCommand command="tctl tokens add --type=node" />}
    </div>
  );
}

export function FilteredEmpty({ q, clear }: { q: string; clear: () => void }) {
  const { t } = useText();
  return (
    <div className={states.state}>
      <h2 className={states.head}>{t('resources.none', { q: visible(q) })}</h2>
      <Button variant="default" onClick={clear}>
        {t('resources.clear')}
      </Button>
    </div>
  );
}
