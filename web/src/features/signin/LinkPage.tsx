import { Button } from '@mantine/core';
import { useCallback, useState } from 'react';
import { api, type Link } from '../../api/cluster';
import { faultOf, type Fault } from '../../api/fault';
import { browser } from '../../host/browser';
import { useText } from '../../i18n/text';
import { CopyCommand } from '../../kit/CopyCommand';
import { FaultNote } from '../../kit/FaultNote';
import { useLoaded } from '../../kit/useLoaded';
import { AuthenticatorStep } from './AuthenticatorStep';
import { Card } from './Card';
import { PasswordStep } from './PasswordStep';
import { SignInForm } from './SignInForm';
import css from './signin.module.css';

/** /web/invite/TOKEN and /web/reset/TOKEN */
export function LinkPage({ token }: { token: string }) {
  const { t } = useText();
  const load = useCallback(() => api.link(token), [token]);
  const [link, again] = useLoaded(load);
  if (link.fault?.kind === 'not_found') return <DeadLink />;
  if (link.fault) {
    return (
      <Card title={t('link.failed')}>
        <FaultNote fault={link.fault} />
        <Button variant="default" onClick={again}>
          {t('again')}
        </Button>
      </Card>
    );
  }
  if (!link.value) return <Card title={t('link.loading')} />;
  return <Steps token={token} link={link.value} />;
}

function Steps({ token, link }: { token: string; link: Link }) {
  const { t } = useText();
  const [step, setStep] = useState<'password' | 'authenticator' | 'signin' | 'dead'>('password');
  const [password, setPassword] = useState('');
  const [fault, setFault] = useState<Fault | null>(null);
  const accept = async (chosen: string, otp: string) => {
    setFault(null);
    try {
      const done = await api.accept(token, { password: chosen, otp });
      if (done.signed_in) browser.leaveFor('/web/');
      else setStep('signin');
    } catch (thrown) {
      const f = faultOf(thrown);
      if (f.kind === 'not_found') return setStep('dead');
      setFault(f);
      if (f.kind === 'invalid') setStep('password');
    }
  };
  const choose = async (chosen: string) => {
    setPassword(chosen);
    if (!link.otp_secret) return accept(chosen, '');
    setFault(null);
    setStep('authenticator');
  };

  const title = t(link.purpose === 'reset' ? 'reset.title' : 'invite.title', { user: link.user });
  const steps = link.otp_secret ? 2 : 1;
  switch (step) {
    case 'dead':
      return <DeadLink />;
    case 'password':
      return (
        <Card title={title} cluster={link.cluster} lead={t('invite.step.password', { n: 1, of: steps })}>
          <PasswordStep user={link.user} first={password} last={steps === 1} fault={fault} onDone={choose} />
        </Card>
      );
    case 'authenticator':
      return (
        <Card title={t('invite.authenticator')} cluster={link.cluster} lead={t('invite.step.code', { n: 2, of: steps })}>
          <AuthenticatorStep link={link} fault={fault} onDone={(otp) => accept(password, otp)} onBack={() => setStep('password')} />
        </Card>
      );
    case 'signin':
      return (
        <Card title={t('invite.done')} cluster={link.cluster} lead={t('invite.done.lead')}>
          <SignInForm code={steps === 2} user={link.user} password={password} onDone={() => browser.leaveFor('/web/')} />
        </Card>
      );
  }
}

function DeadLink() {
  const { t } = useText();
  return (
    <Card title={t('link.dead')} lead={t('link.dead.lead')} announce>
      <div className={css.cli}>
        <span className={css.lead}>{t('link.dead.renew')}</span>
        <CopyCommand command="tctl users reset NAME" />
      </div>
      <Button component="a" href="/web/login" variant="default">
        {t('link.dead.signin')}
      </Button>
    </Card>
  );
}
