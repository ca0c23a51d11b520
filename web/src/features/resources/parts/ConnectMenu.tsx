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
      width="min(400px, calc(100vw - 24px))" // the name of a role in a cloud is long
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
          {resource.logins.length > 0 && <Menu.Label>{t('resources.connect.as', { name })}</Menu.Label>}
          {resource.logins.length === 0 && <Menu.Item aria-disabled="true">{t('resources.connect.none')}</Menu.Item>}
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
  const opens = resource.launch !== undefined;
  const title = t(opens ? 'app.open' : 'resources.connect.to', { name });
  if (as.length === 0) {
    return (
      <Menu.Dropdown aria-label={title}>
        <Menu.Item aria-disabled="true">{t('app.none')}</Menu.Item>
      </Menu.Dropdown>
    );
  }
  return (
    <Menu.Dropdown aria-label={title}>
      {opens && <Menu.Label>{t(resource.cloud === undefined ? 'app.open' : 'app.as', { name })}</Menu.Label>}
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
      {commands.length > 0 && <Menu.Label>{t(opens ? 'app.terminal' : 'app.terminal.only', { name })}</Menu.Label>}
      {commands.map((command) => (
        <Menu.Item key={command} onClick={() => copy(command)} rightSection={<Copy size={14} aria-hidden />} data-command={command}>
          <span className={css.login}>
            <code>{command}</code>
          </span>
        </Menu.Item>
      ))}
    </Menu.Dropdown>
  );
}
