import { Modal } from '@mantine/core';
import { useState } from 'react';
import { useText, type Key } from '../../i18n/text';
import { keysAreOn, turnKeys } from '../../kit/keys';
import css from './frame.module.css';

const list: [keys: string[], does: Key][] = [
  [['Ctrl K'], 'keys.palette'],
  [['/'], 'keys.filter'],
  [['g', 'r'], 'keys.resources'],
  [['j', 'k', '↓', '↑'], 'keys.move'],
  [['Enter'], 'keys.open'],
  [['c'], 'keys.connect'],
  [['y'], 'keys.copy'],
  [['Esc'], 'keys.escape'],
  [['?'], 'keys.help'],
];

/** The keys, and the switch for those that are single letters. */
export function KeysDialog({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const { t } = useText();
  const [on, setOn] = useState(keysAreOn);
  return (
    <Modal opened={opened} onClose={onClose} title={t('keys.title')} closeButtonProps={{ 'aria-label': t('close') }} centered>
      <label className={css.switch}>
        <input
          type="checkbox"
          checked={on}
          onChange={(e) => {
            turnKeys(e.target.checked);
            setOn(e.target.checked);
          }}
        />
        {t('keys.on')}
      </label>
      <dl className={css.keys}>
        {list.map(([keys, does]) => (
          <div key={does}>
            <dt>
              {keys.map((k) => (
                <kbd key={k}>{k}</kbd>
              ))}
            </dt>
            <dd>{t(does)}</dd>
          </div>
        ))}
      </dl>
    </Modal>
  );
}
