import { Button } from '@mantine/core';
import type { Fault } from '../../api/fault';
import { useText } from '../../i18n/text';
import { FaultNote } from '../../kit/FaultNote';
import states from '../../kit/states.module.css';
import css from './frame.module.css';

/** A person whom the cluster knows and does not let in: the rule, and what next. */
export function Refused({ fault, leave }: { fault: Fault; leave: () => void }) {
  const { t } = useText();
  return (
    <main className={css.alone}>
      <div className={states.state}>
        <h1 className={states.head}>{t('refused.title')}</h1>
        <p className={states.body}>{t('refused.lead')}</p>
        <p className={css.rule} lang="en">
          <bdi>{fault.message}</bdi>
        </p>
        <p className={states.body}>{t('refused.next')}</p>
        <Button variant="default" onClick={leave}>
          {t('account.signout')}
        </Button>
      </div>
    </main>
  );
}

/** The cluster could not be asked who this is. */
export function Unreachable({ fault, again }: { fault: Fault; again: () => void }) {
  const { t } = useText();
  return (
    <main className={css.alone}>
      <div className={states.state}>
        <h1 className={states.head}>{t('resources.failed')}</h1>
        <FaultNote fault={fault} />
        <Button onClick={again}>{t('again')}</Button>
      </div>
    </main>
  );
}
