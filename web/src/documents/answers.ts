import { useMantineColorScheme, type MantineColorScheme } from '@mantine/core';
import { useMemo } from 'react';
import { rank, shells, type Entry } from '../features/palette/public';
import { ambiguous, sshCommand, useResources, visible, type Place } from '../features/resources/public';
import { browser } from '../host/browser';
import { languages, useText, type Language } from '../i18n/text';
import { useChangeLanguage } from '../kit/language';
import { may, useSession } from '../session/session';

const schemes: MantineColorScheme[] = ['auto', 'light', 'dark'];

/** What the palette can do here: pages, resources, shells, the person's own settings. */
export function useAnswers(cluster: string, goResources: (place?: Place) => void): (typed: string) => Entry[] {
  const { t } = useText();
  const { me, leave } = useSession();
  const change = useChangeLanguage();
  const { setColorScheme } = useMantineColorScheme();
  const resources = useResources(cluster).data;
  return useMemo(() => {
    const action = (id: string, title: string, words: string, run: () => void): Entry => ({ id, group: 'action', title, words, run });
    const list = resources ?? [];
    const twice = ambiguous(list);
    const pages: Entry[] = [
      { id: 'page', group: 'page', title: t('palette.go', { page: t('nav.resources') }), words: 'go resources nodes', run: () => goResources() },
    ];
    const actions = [
      ...(may(me, 'token', 'create') ? [action('add', t('resources.add'), 'add resource node token', () => goResources({ add: true }))] : []),
      ...schemes.map((s) => action(`theme ${s}`, t('palette.theme', { theme: t(`prefs.theme.${s}`) }), `theme ${s}`, () => setColorScheme(s))),
      ...Object.entries(languages).map(([tag, name]) =>
        action(`language ${tag}`, t('palette.language', { language: name }), `language ${tag} ${name}`, () => change(tag as Language)),
      ),
      action('sign out', t('account.signout'), 'sign out logout', leave),
    ];
    const rows = list.map((r): Entry => {
      const labels = Object.entries(r.labels).map(([k, v]) => `${k}=${v}`);
      return { id: r.id, group: 'resource', title: visible(r.name), words: labels.join(' '), run: () => goResources({ sel: r.id }) };
    });
    return (typed) => [
      ...shells(list, typed).map(({ resource, login }): Entry => {
        const command = sshCommand(resource, login, twice);
        return {
          id: `ssh ${login} ${resource.id}`,
          group: 'command',
          title: t('palette.ssh', { command }),
          words: '',
          run: () => void browser.copy(command),
        };
      }),
      ...rank([...pages, ...rows, ...actions], typed),
    ];
  }, [t, me, leave, change, setColorScheme, resources, goResources]);
}
