import { Button, PasswordInput, TextInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { api } from '../../api/cluster';
import { Fault, faultOf } from '../../api/fault';
import { useText, type Key } from '../../i18n/text';
import { FaultNote } from '../../kit/FaultNote';
import { CodeField } from './CodeField';
import css from './signin.module.css';

interface Props {
  /** The cluster asks for a one-time code. */
  code: boolean;
  /** A person who is known already: the name cannot be changed. */
  user?: string | undefined;
  /** A password given a moment ago: only the code is asked for. */
  password?: string;
  onDone: (user: string) => void;
}

/** Name and password, then the code, in place; proofs are sent together. */
export function SignInForm({ code: wantsCode, user: known, password: given = '', onDone }: Props) {
  const { t } = useText();
  const [user, setUser] = useState(known ?? '');
  const [password, setPassword] = useState(given);
  const [code, setCode] = useState('');
  const [step, setStep] = useState<'password' | 'code'>(given ? 'code' : 'password');
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<Fault | null>(null);
  const back = () => {
    setStep('password');
    setCode('');
  };

  const submit = async (e: FormEvent) => {
    e.preventDefault();
    if (busy) return;
    setFault(null);
    if (step === 'password' && wantsCode) return setStep('code');
    setBusy(true);
    try {
      const me = await api.signIn({ user: user.trim(), password, otp: code });
      onDone(me.user);
    } catch (thrown) {
      setFault(faultOf(thrown));
      back();
    } finally {
      setBusy(false);
    }
  };

  return (
    <form className={css.form} onSubmit={submit}>
      {fault && <FaultNote fault={fault} say={words(fault)} />}
      {step === 'password' ? (
        <>
          <TextInput
            label={t('signin.user')}
            name="username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            readOnly={known !== undefined}
            required
            withAsterisk={false}
            data-autofocus={user === '' || undefined}
            autoFocus={user === ''}
            value={user}
            onChange={(e) => setUser(e.currentTarget.value)}
          />
          <PasswordInput
            label={t('signin.password')}
            name="password"
            autoComplete="current-password"
            required
            withAsterisk={false}
            data-autofocus={user !== '' || undefined}
            autoFocus={user !== ''}
            onFocus={(e) => fault && e.currentTarget.select()}
            value={password}
            onChange={(e) => setPassword(e.currentTarget.value)}
            visibilityToggleButtonProps={{ 'aria-label': t('signin.reveal'), tabIndex: 0 }}
          />
        </>
      ) : (
        <>
          <div className={css.who}>
            <bdi>{user}</bdi>
            <Button variant="subtle" size="compact-sm" onClick={back}>
              {t('signin.change')}
            </Button>
          </div>
          <CodeField value={code} onChange={setCode} hint={given ? t('signin.code.next') : t('signin.code.hint')} />
        </>
      )}
      <Button type="submit" loading={busy} fullWidth>
        {t(step === 'password' && wantsCode ? 'signin.next' : 'signin.submit')}
      </Button>
    </form>
  );
}

/** Wrong name, password and code read alike. */
function words(fault: Fault): Key | undefined {
  if (fault.kind === 'denied' || fault.kind === 'unauthenticated') return 'signin.wrong';
  if (fault.kind === 'limit') return 'signin.limit';
  return undefined;
}
