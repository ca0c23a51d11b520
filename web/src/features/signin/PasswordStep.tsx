import { Button, PasswordInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import type { Fault } from '../../api/fault';
import { useText } from '../../i18n/text';
import { FaultNote } from '../../kit/FaultNote';
import { characters, minPassword } from './model';
import css from './signin.module.css';

interface Props {
  user: string;
  first: string;
  /** No authenticator follows. */
  last: boolean;
  fault: Fault | null;
  onDone: (password: string) => Promise<void>;
}

/** A new password: twelve characters or more, and no other rule. */
export function PasswordStep({ user, first, last, fault, onDone }: Props) {
  const { t } = useText();
  const [password, setPassword] = useState(first);
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const length = characters(password);
  const enough = length >= minPassword;
  const submit = async (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (!enough || busy) return;
    setBusy(true);
    await onDone(password);
    setBusy(false);
  };
  return (
    <form className={css.form} onSubmit={submit} noValidate>
      {fault && <FaultNote fault={fault} say={fault.kind === 'invalid' ? 'invite.password.refused' : undefined} />}
      <input className="visually-hidden" name="username" autoComplete="username" value={user} readOnly tabIndex={-1} aria-hidden />
      <PasswordInput
        label={t('invite.password')}
        description={
          <span className={enough ? css.met : undefined}>
            {t(enough ? 'invite.password.enough' : 'invite.password.count', { n: length, min: minPassword })}
          </span>
        }
        error={tried && !enough ? t('invite.password.short', { min: minPassword }) : null}
        name="password"
        autoComplete="new-password"
        required
        withAsterisk={false}
        autoFocus
        value={password}
        onChange={(e) => setPassword(e.currentTarget.value)}
        visibilityToggleButtonProps={{ 'aria-label': t('signin.reveal'), tabIndex: 0 }}
      />
      <Button type="submit" loading={busy} fullWidth>
        {t(last ? 'invite.finish' : 'signin.next')}
      </Button>
    </form>
  );
}
