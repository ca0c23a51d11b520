import { Check, Copy } from 'lucide-react';
import { useState } from 'react';
import { browser } from '../host/browser';
import { useText } from '../i18n/text';
import css from './copy.module.css';

interface Props {
  command: string;
  /** What the text is, where it is no command. */
  label?: string;
  /** What is copied, where it differs from what is read. */
  copies?: string;
}

/** A command line as the tools accept it, and a button that copies it. */
export function CopyCommand({ command, label, copies = command }: Props) {
  const { t } = useText();
  const [said, setSaid] = useState<'copied' | 'refused' | null>(null);
  const copy = async () => {
    setSaid((await browser.copy(copies)) ? 'copied' : 'refused');
    setTimeout(() => setSaid(null), 2000);
  };
  return (
    <div className={css.box}>
      <code className={css.line} role="group" aria-label={label ?? t('command.label')}>
        {command}
      </code>
      <button type="button" className={css.button} onClick={copy} aria-label={label ? t('copy', { what: label }) : t('command.copy', { command })}>
        {said === 'copied' ? <Check size={16} aria-hidden /> : <Copy size={16} aria-hidden />}
      </button>
      <span className="visually-hidden" role="status">
        {said && t(said === 'copied' ? 'command.copied' : 'command.refused')}
      </span>
    </div>
  );
}
