import { Button } from '@mantine/core';
import { useText } from '../../i18n/text';
import { Card } from './Card';

/** /web/bye, and /web/bye/HOST after leaving one app: the cluster is not left with it. */
export function ByePage({ app }: { app: string }) {
  const { t } = useText();
  if (app) {
    return (
      <Card title={t('bye.app', { app })} lead={t('bye.app.lead')} announce>
        <Button component="a" href="/web/">
          {t('launch.resources')}
        </Button>
        <Button component="a" href={`/web/launch/${app}`} variant="default">
          {t('bye.app.again')}
        </Button>
      </Card>
    );
  }
  return (
    <Card title={t('bye.title')} lead={t('bye.lead')} announce>
      <Button component="a" href="/web/login">
        {t('bye.again')}
      </Button>
    </Card>
  );
}
