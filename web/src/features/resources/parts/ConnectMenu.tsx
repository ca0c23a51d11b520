import { Menu } from '@mantine/core';
import { Copy, ExternalLink } from 'lucide-react';
import type { Resource } from '../../../api/cluster';
import { browser } from '../../../host/browser';
import { useText } from '../../../i18n/text';
import { appCommands, launchPath, sshCommand, visible } from '../model';
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
      {resource.kind === 'app' ? (
        <AppItems resource={resource} name={name} copy={(command) => void copy(command)} />
      ) : (
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
      )}
    </Menu>
  );
}

/** An app opens in a tab of its own; of a cloud, as one of the roles there. */
function AppItems({ resource, name, copy }: { resource: Resource; name: string; copy: (command: string) => void }) {
  const { t } = useText();
  const as = resource.cloud === undefined ? [undefined] : resource.logins;
  const commands = as.flatMap((who) => appCommands(resource, who));
  const label = resource.cloud === undefined ? 'app.open' : as.length ? 'app.as' : 'app.none';
  return (
    <Menu.Dropdown aria-label={t('app.open', { name })}>
      <Menu.Label>{t(label, { name })}</Menu.Label>
      {as.map((who) => {
        const to = launchPath(resource, who);
        return (
          to && (
            <Menu.Item
              key={who ?? ''}
              component="a"
              href={to}
              target="_blank"
              rel="noopener"
              rightSection={<ExternalLink size={14} aria-hidden />}
              data-launch={who ?? ''}
            >
              <bdi>{visible(who ?? resource.address ?? name)}</bdi>
            </Menu.Item>
          )
        );
      })}
      {commands.length > 0 && <Menu.Label>{t('app.terminal')}</Menu.Label>}
      {commands.map((command) => (
        <Menu.Item key={command} onClick={() => copy(command)} rightSection={<Copy size={14} aria-hidden />}>
          <code>{command}</code>
        </Menu.Item>
      ))}
    </Menu.Dropdown>
  );
}
