import { Menu } from '@mantine/core';
import { Copy } from 'lucide-react';
import type { Resource } from '../../../api/cluster';
import { browser } from '../../../host/browser';
import { useText } from '../../../i18n/text';
import { sshCommand, visible } from '../model';
import css from '../resources.module.css';

export interface Anchor {
  resource: Resource;
  button: HTMLElement;
}

interface Props {
  anchor: Anchor | null;
  twice: Set<string>;
  onClose: () => void;
  onCopied: (said: string) => void;
}

/** The logins that work there; each copies its command. One menu for all rows. */
export function ConnectMenu({ anchor, twice, onClose, onCopied }: Props) {
  const { t } = useText();
  const close = () => {
    anchor?.button.focus();
    onClose();
  };
  const copy = async (command: string) => {
    const done = await browser.copy(command);
    onCopied(t(done ? 'resources.copied' : 'command.refused', { command }));
  };
  if (!anchor) return null;
  const { resource, button } = anchor;
  const at = button.getBoundingClientRect();
  const name = visible(resource.name);
  return (
    <Menu
      opened
      onClose={close}
      position="bottom-end"
      width={320}
      returnFocus={false}
      transitionProps={{ duration: 0 }}
      clickOutsideEvents={['mousedown', 'touchstart']} // not the key press that opened it
    >
      <Menu.Target>
        <span aria-hidden className={css.anchor} style={{ left: at.left, top: at.top, width: at.width, height: at.height }} />
      </Menu.Target>
      <Menu.Dropdown aria-label={t('resources.connect.to', { name })}>
        <Menu.Label>{t(resource.logins.length ? 'resources.connect.as' : 'resources.connect.none', { name })}</Menu.Label>
        {resource.logins.map((login) => {
          const command = sshCommand(resource, login, twice);
          return (
            <Menu.Item key={login} onClick={() => void copy(command)} rightSection={<Copy size={14} aria-hidden />} data-login={login}>
              <span className={css.login}>
                <bdi>{visible(login)}</bdi>
                <code>{command}</code>
              </span>
            </Menu.Item>
          );
        })}
      </Menu.Dropdown>
    </Menu>
  );
}
