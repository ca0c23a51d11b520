// What the palette offers for what was typed, without React.
import type { Resource } from '../../api/cluster';

export type Group = 'page' | 'resource' | 'command' | 'action';

export interface Entry {
  id: string;
  group: Group;
  /** What is shown. */
  title: string;
  /** What else it is found by. */
  words: string;
  run: () => void;
}

const limit = 50;

/** How well a text answers a query: 0 not at all, more is better. Every word must appear. */
export function score(text: string, query: string): number {
  const hay = text.toLowerCase();
  let sum = 0;
  for (const word of query.toLowerCase().split(/\s+/)) {
    if (!word) continue;
    const at = hay.indexOf(word);
    if (at < 0) return 0;
    sum += at === 0 ? 4 : /[\s@:/=._-]/.test(hay[at - 1] ?? '') ? 2 : 1;
  }
  return sum;
}

/** The best answers, in the order given where they are equally good; ">" asks for actions alone. */
export function rank(entries: Entry[], typed: string): Entry[] {
  const actionsOnly = typed.startsWith('>');
  const query = (actionsOnly ? typed.slice(1) : typed).trim();
  const pool = actionsOnly ? entries.filter((e) => e.group === 'action' || e.group === 'page') : entries;
  if (!query) return pool.filter((e) => e.group !== 'command').slice(0, limit);
  return pool
    .map((entry) => ({ entry, points: Math.max(score(entry.title, query), score(entry.words, query)) }))
    .filter((x) => x.points > 0)
    .toSorted((a, b) => b.points - a.points)
    .slice(0, limit)
    .map((x) => x.entry);
}

/** The resource and login that "ssh root@web-2" or "root@web-2" begins to name. */
export function shells(resources: Resource[], typed: string): { resource: Resource; login: string }[] {
  const m = /^(?:(?:tsh\s+)?ssh\s+)?(?:([^\s@]+)@)?(\S*)$/.exec(typed.trim());
  const said = /^(?:tsh\s+)?ssh\s/.test(typed.trimStart());
  if (!m || (!said && m[1] === undefined)) return [];
  const [login, name] = [m[1], (m[2] ?? '').toLowerCase()];
  return resources
    .filter((r) => r.kind === 'node' && r.name.toLowerCase().startsWith(name)) // the logins of an app are roles of its cloud
    .flatMap((resource) => resource.logins.filter((l) => login === undefined || l.startsWith(login)).map((l) => ({ resource, login: l })))
    .slice(0, limit);
}
