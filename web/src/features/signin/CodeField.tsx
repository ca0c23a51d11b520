import { TextInput } from '@mantine/core';
import { useText } from '../../i18n/text';
import { codeDigits } from './model';
import css from './signin.module.css';

interface Props {
  value: string;
  onChange: (code: string) => void;
  hint: string;
  error?: string | null;
  autoFocus?: boolean;
}

/** The six digits of an authenticator: one field, so that paste and autofill work. */
export function CodeField({ value, onChange, hint, error = null, autoFocus = true }: Props) {
  const { t } = useText();
  return (
    <TextInput
      className={css.code ?? ''}
      label={t('signin.code')}
      description={hint}
      error={error}
      name="otp"
      inputMode="numeric"
      autoComplete="one-time-code"
      pattern="[0-9]{6}"
      title={t('signin.code.title')}
      required
      withAsterisk={false}
      autoFocus={autoFocus}
      value={value}
      onChange={(e) => onChange(codeDigits(e.currentTarget.value))}
    />
  );
}
