import { Button } from '@mantine/core';
import { useState } from 'react';
import { api, type Ping } from '../../api/cluster';
import { browser } from '../../host/browser';
import { useText } from '../../i18n/text';
import { CopyCommand } from '../../kit/CopyCommand';
import { FaultNote } from '../../kit/FaultNote';
import { useLoaded } from '../../kit/useLoaded';
import { Card } from './Card';
import { SignInForm } from './SignInForm';
import css from './signin.module.css';

/** /web/login */
export function LoginPage({ next, ended, app }: { next: string; ended: boolean; app: string }) {
  const { t } = useText();
  const [ping, again] = useLoaded(api.ping);
  const [read, setRead] = useState(false);
  const cluster = ping.value?.cluster_name;
  const message = ping.value?.auth.message_of_the_day;
  if (ping.fault) {
    return (
      <Card title={t('signin.title')}>
        <FaultNote fault={ping.fault} />
        <Button variant="default" onClick={again}>
          {t('again')}
        </Button>
      </Card>
    );
  }
  if (message && !read) {
    return (
      <Card title={t('motd.title')} cluster={cluster}>
        <div className={css.motd} tabIndex={0} role="group" aria-label={t('motd.title')}>
          {message}
        </div>
        <Button onClick={() => setRead(true)} autoFocus>
          {t('motd.accept')}
        </Button>
      </Card>
    );
  }
  const why = ended ? (app ? 'signin.ended.app' : 'signin.ended') : app ? 'signin.app' : undefined;
  const lead = why && t(why, { app });
  const wantsCode = ping.value?.auth.second_factor !== 'off';
  return (
    <Card title={t('signin.title')} cluster={cluster ?? location.hostname} lead={lead} foot={<InTerminal ping={ping.value} />}>
      <SignInForm code={wantsCode} onDone={() => browser.leaveFor(next)} />
    </Card>
  );
}

function InTerminal({ ping }: { ping: Ping | null }) {
  const { t } = useText();
  return (
    <div className={css.cli}>
      <span>{t('signin.terminal')}</span>
      <CopyCommand command={`tsh login --proxy=${ping?.proxy.ssh.public_addr ?? location.host}`} />
    </div>
  );
}
