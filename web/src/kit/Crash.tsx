import { Button } from '@mantine/core';
import { useText } from '../i18n/text';
import css from './states.module.css';

/** What stands in place of a part that fell. */
export function Crash({ again }: { again: () => void }) {
  const { t } = useText();
  return (
    <div className={css.state} role="alert">
      <p className={css.head}>{t('crash.title')}</p>
      <Button variant="default" onClick={again}>
        {t('crash.again')}
      </Button>
    </div>
  );
}
