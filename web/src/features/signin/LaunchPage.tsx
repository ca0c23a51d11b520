import { Button } from '@mantine/core';
import { useCallback, useEffect } from 'react';
import { api, type Launch } from '../../api/cluster';
import { browser } from '../../host/browser';
import { sentence } from '../../i18n/format';
import { useText, type Key } from '../../i18n/text';
import { FaultNote } from '../../kit/FaultNote';
import { useLoaded } from '../../kit/useLoaded';
import { signInPath } from '../../session/session';
import { Card } from './Card';
import { safeApp } from './model';
import css from './signin.module.css';

/** /web/launch/HOST: on the way to an app, by a sign-in where there is none. */
export function LaunchPage({ launch }: { launch: Launch }) {
  const { t } = useText();
  const load = useCallback(() => api.launch(launch), [launch]);
  const [next, again] = useLoaded(load);
  const kind = next.fault?.kind;
  const to = next.value && safeApp(next.value.url);
  const without = next.value?.without ?? [];
  const stops = without.length > 0; // so that nobody wonders why half of the app fails
  useEffect(() => {
    if (to && !stops) browser.leaveFor(to);
    else if (next.fault?.kind === 'unauthenticated') browser.leaveFor(signInPath(next.fault));
  }, [to, stops, next.fault]);
  if (next.value && to && stops) {
    return (
      <Card title={t('launch.without', { app: next.value.app })} lead={t('launch.without.lead')} announce>
        <dl className={css.without}>
          {without.map((x) => (
            <div key={x.app}>
              <dt>
                <bdi>{x.app}</bdi>
              </dt>
              <dd lang="en">
                <bdi>{sentence(x.why)}</bdi>
              </dd>
            </div>
          ))}
        </dl>
        <Button onClick={() => browser.leaveFor(to)}>{t('launch.without.go')}</Button>
        <Button component="a" href="/web/" variant="default">
          {t('launch.resources')}
        </Button>
      </Card>
    );
  }
  if (!next.fault || kind === 'unauthenticated') {
    return <Card title={t('launch.title')} lead={<bdi>{launch.host}</bdi>} />;
  }
  return (
    <Card title={t(titleOf(next.fault.kind), { host: launch.host })} announce>
      <FaultNote fault={next.fault} say={kind === 'unimplemented' ? 'launch.programs.why' : undefined} />
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
  if (kind === 'unimplemented') return 'launch.programs';
  return 'launch.failed';
}
