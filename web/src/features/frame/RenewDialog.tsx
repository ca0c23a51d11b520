import { Modal } from '@mantine/core';
import type { ReactNode } from 'react';
import { useText } from '../../i18n/text';
import { signInPath } from '../../session/session';
import css from './frame.module.css';

interface Props {
  /** The session is over: the page stays hidden until there is a new one. */
  ended: boolean;
  onClose: () => void;
  /** The sign-in form. */
  children: ReactNode;
}

/** Signing in again over the page, so that what was typed and chosen stays. */
export function RenewDialog({ ended, onClose, children }: Props) {
  const { t } = useText();
  return (
    <Modal
      opened
      onClose={onClose}
      title={t(ended ? 'renew.title' : 'renew.early')}
      withCloseButton={!ended}
      closeOnEscape={!ended}
      closeOnClickOutside={false}
      closeButtonProps={{ 'aria-label': t('close') }}
      overlayProps={{ backgroundOpacity: ended ? 1 : 0.5, color: ended ? 'var(--t-canvas)' : '#000' }}
      transitionProps={{ duration: 0 }}
      centered
    >
      <div className={css.renew}>
        {ended && <p>{t('renew.lead')}</p>}
        {children}
        <a href={signInPath()}>{t('renew.other')}</a>
      </div>
    </Modal>
  );
}
