import { Button } from '@mantine/core';
import { useEffect, useState, type FormEvent } from 'react';
import type { Link } from '../../api/cluster';
import type { Fault } from '../../api/fault';
import { useText } from '../../i18n/text';
import { CopyCommand } from '../../kit/CopyCommand';
import { FaultNote } from '../../kit/FaultNote';
import { CodeField } from './CodeField';
import { grouped } from './model';
import css from './signin.module.css';

interface Props {
  link: Link;
  fault: Fault | null;
  onDone: (code: string) => Promise<void>;
  onBack: () => void;
}

/** The QR code, the same secret as text, and the first code as proof. */
export function AuthenticatorStep({ link, fault, onDone, onBack }: Props) {
  const { t } = useText();
  const [code, setCode] = useState('');
  const [busy, setBusy] = useState(false);
  const picture = usePicture(link.otp_qr);
  const submit = async (e: FormEvent) => {
    e.preventDefault();
    if (busy) return;
    setBusy(true);
    await onDone(code);
    setBusy(false);
    setCode('');
  };
  const wrong = fault?.kind === 'denied';
  return (
    <form className={css.form} onSubmit={submit}>
      <div className={css.qr}>
        {picture && <img src={picture} alt={t('invite.qr')} />}
        <div className={css.secret}>
          <span>{t('invite.secret')}</span>
          <CopyCommand
            command={grouped(link.otp_secret ?? '')}
            copies={link.otp_secret ?? ''}
            label={t('invite.secret.label')}
          />
        </div>
      </div>
      {fault && !wrong && <FaultNote fault={fault} />}
      <CodeField value={code} onChange={setCode} hint={t('invite.code.hint')} error={wrong ? t('invite.code.wrong') : null} />
      <Button type="submit" loading={busy} fullWidth>
        {t('invite.finish')}
      </Button>
      <Button variant="subtle" onClick={onBack} disabled={busy}>
        {t('invite.back')}
      </Button>
    </form>
  );
}

/** An address for a PNG in base64: data: addresses are outside the policy, blobs are not. */
function usePicture(base64: string | undefined): string | null {
  const [address, setAddress] = useState<string | null>(null);
  useEffect(() => {
    if (!base64) return;
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const made = URL.createObjectURL(new Blob([bytes], { type: 'image/png' }));
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [base64]);
  return address;
}
