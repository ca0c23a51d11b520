import { Button } from '@mantine/core';
import { useText } from '../../i18n/text';
import { Card } from './Card';

/** /web/bye */
export function ByePage() {
  const { t } = useText();
  return (
    <Card title={t('bye.title')} lead={t('bye.lead')} announce>
      <Button component="a" href="/web/login">
        {t('bye.again')}
      </Button>
    </Card>
  );
}
