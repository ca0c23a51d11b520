import { Button, Modal } from '@mantine/core';
import type { Fault } from '../../api/fault';
import { useText } from '../../i18n/text';
import { FaultNote } from '../../kit/FaultNote';
import css from './frame.module.css';

/** The session may live on at the cluster: say so, and try again. */
export function SignOutFailed({ fault, again, onClose }: { fault: Fault; again: () => void; onClose: () => void }) {
  const { t } = useText();
  return (
    <Modal opened onClose={onClose} title={t('account.failed')} closeButtonProps={{ 'aria-label': t('close') }} centered>
      <div className={css.renew}>
        <FaultNote fault={fault} />
        <Button onClick={again}>{t('again')}</Button>
      </div>
    </Modal>
  );
}
