import { Button } from '@mantine/core';
import { useCallback, useEffect } from 'react';
import { api, type Launch } from '../../api/cluster';
import { browser } from '../../host/browser';
import { useText, type Key } from '../../i18n/text';
import { FaultNote } from '../../kit/FaultNote';
import { useLoaded } from '../../kit/useLoaded';
import { signInPath } from '../../session/session';
import { Card } from './Card';
import { safeApp } from './model';

/** /web/launch/HOST: on the way to an app, by a sign-in where there is none. */
export function LaunchPage({ launch }: { launch: Launch }) {
  const { t } = useText();
  const load = useCallback(() => api.launch(launch), [launch]);
  const [next, again] = useLoaded(load);
  const kind = next.fault?.kind;
  const to = next.value && safeApp(next.value.url);
  useEffect(() => {
    if (to) browser.leaveFor(to);
    else if (kind === 'unauthenticated') browser.leaveFor(signInPath());
  }, [to, kind]);
  if (!next.fault || kind === 'unauthenticated') {
    return <Card title={t('launch.title')} lead={<bdi>{launch.host}</bdi>} />;
  }
  return (
    <Card title={t(titleOf(next.fault.kind), { host: launch.host })} announce>
      <FaultNote fault={next.fault} />
      {kind === 'unavailable' || kind === 'timeout' ? (
        <Button variant="default" onClick={again}>
          {t('again')}
        </Button>
      ) : (
        <Button component="a" href="/web/" variant="default">
          {t('launch.resources')}
        </Button>
      )}
    </Card>
  );
}

function titleOf(kind: string): Key {
  if (kind === 'denied') return 'launch.denied';
  if (kind === 'not_found') return 'launch.missing';
  return 'launch.failed';
}
