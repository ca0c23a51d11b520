// The filter box, without React: its grammar, what it keeps, the command it means.
import type { Resource } from '../../api/cluster';

export interface Filter {
  words: string[];
  labels: [key: string, value: string][];
}

/** A term: key=value with either side quoted where it has spaces, or a word. */
const term = /(?:"((?:[^"\\]|\\.)*)"|([^\s="]+))(?:=(?:"((?:[^"\\]|\\.)*)"|(\S*)))?/g;

const unescape = (s: string) => s.replace(/\\(.)/g, '$1');

/** Reads the box. Any text is a filter; what is no label is a word. */
export function parse(text: string): Filter {
  const filter: Filter = { words: [], labels: [] };
  for (const m of text.matchAll(term)) {
    const left = m[1] === undefined ? (m[2] ?? '') : unescape(m[1]);
    const right = m[3] === undefined ? m[4] : unescape(m[3]);
    if (left === '') continue;
    if (right === undefined) filter.words.push(left);
    else if (right === '') filter.words.push(`${left}=`);
    else filter.labels.push([left, right]);
  }
  return filter;
}

const quoted = (s: string) => (/[\s"=\\]/.test(s) || s === '' ? `"${s.replace(/[\\"]/g, '\\$&')}"` : s);

/** Writes a filter as the box would hold it: labels, then words. */
export function write(f: Filter): string {
  return [...f.labels.map(([k, v]) => `${quoted(k)}=${quoted(v)}`), ...f.words.map(quoted)].join(' ');
}

export const holds = (f: Filter, key: string, value: string) => f.labels.some(([k, v]) => k === key && v === value);

/** Adds a label, or takes it out if it is there. */
export function toggle(text: string, key: string, value: string): string {
  const f = parse(text);
  const labels = f.labels.filter(([k, v]) => k !== key || v !== value);
  if (labels.length === f.labels.length) labels.push([key, value]);
  return write({ ...f, labels });
}

/** What words are looked for in, ready to be searched many times. */
export interface Indexed {
  resource: Resource;
  text: string;
}

export function index(resources: Resource[]): Indexed[] {
  return resources
    .map((resource) => {
      const labels = Object.entries(resource.labels).map(([k, v]) => `${k}=${v}`);
      const parts = [resource.name, resource.id, resource.address, resource.version, resource.description, ...labels];
      return { resource, text: parts.join('\n').toLowerCase() };
    })
    .toSorted((a, b) => compare(a.resource, b.resource));
}

const order = new Intl.Collator('en', { numeric: true });
const compare = (a: Resource, b: Resource) => order.compare(a.name, b.name) || order.compare(a.id, b.id);

/** Every word somewhere, every label exactly. */
export function select(all: Indexed[], f: Filter): Resource[] {
  const words = f.words.map((w) => w.toLowerCase());
  const hits = all.filter(
    ({ resource, text }) => f.labels.every(([k, v]) => resource.labels[k] === v) && words.every((w) => text.includes(w)),
  );
  return hits.map((x) => x.resource);
}

export interface Facet {
  key: string;
  value: string;
  count: number;
}

/**
 * The labels of a list, commonest first. What all rows share tells nothing apart
 * and comes last; what one row of many has alone is its name, and is left out.
 */
export function facets(resources: Resource[], most = 40): Facet[] {
  const found = new Map<string, Facet>();
  for (const r of resources) {
    for (const [key, value] of Object.entries(r.labels)) {
      const name = `${key}\0${value}`;
      const facet = found.get(name) ?? { key, value, count: 0 };
      facet.count++;
      found.set(name, facet);
    }
  }
  const all = resources.length;
  return [...found.values()]
    .filter((f) => f.count > 1 || all <= 20)
    .toSorted((a, b) => Number(a.count === all) - Number(b.count === all) || b.count - a.count || order.compare(a.key, b.key))
    .slice(0, most);
}

/** A word of a command line, quoted for a POSIX shell where it must be. */
export const shell = (s: string) => (/^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replaceAll("'", `'\\''`)}'`);

/** The command lines that list the same rows: servers and apps are lists of their own. */
export function listCommand(f: Filter, rows: Resource[] = []): string {
  const apps = rows.some((r) => r.kind === 'app');
  const nodes = !apps || rows.some((r) => r.kind !== 'app');
  return [...(nodes ? ['tsh ls'] : []), ...(apps ? ['tsh apps ls'] : [])].map((command) => withFilter(command, f)).join(' && ');
}

function withFilter(command: string, f: Filter): string {
  const parts = [command];
  if (f.words.length) parts.push(`--search=${shell(f.words.join(','))}`);
  // A label that the short form cannot say is asked for by an expression.
  const plain = f.labels.filter(([k, v]) => !/[,=]/.test(k) && !v.includes(','));
  const rest = f.labels.filter((l) => !plain.includes(l));
  if (rest.length) {
    const query = rest.map(([k, v]) => `labels[${JSON.stringify(k)}] == ${JSON.stringify(v)}`).join(' && ');
    parts.push(`--query=${shell(query)}`);
  }
  if (plain.length) parts.push(shell(plain.map(([k, v]) => `${k}=${v}`).join(',')));
  return parts.join(' ');
}

/** Names that more than one node has: a command must use the id of such a row. */
export function ambiguous(resources: Resource[]): Set<string> {
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const { name, kind } of resources) if (kind === 'node') (seen.has(name) ? twice : seen).add(name);
  return twice;
}

/** The command that opens a shell there. */
export const sshCommand = (r: Resource, login: string, twice?: Set<string>) =>
  `tsh ssh ${shell(`${login}@${twice?.has(r.name) ? r.id : r.name}`)}`;

/** The commands that reach an app without a browser. */
export function appCommands(r: Resource, as?: string): string[] {
  if (r.cloud === undefined) {
    const ports = r.ports ?? [];
    if (ports.length === 0) return [`tsh proxy app ${shell(r.name)}`];
    return ports.map((p) => `tsh proxy app --port=0:${p.split('-')[0]} ${shell(r.name)}`);
  }
  const flag = { AWS: '--aws-role', Azure: '--azure-identity', GCP: '--gcp-service-account' }[r.cloud];
  return flag && as ? [`tsh apps login ${flag}=${shell(as)} ${shell(r.name)}`] : [];
}

/** The command that the row stands for; undefined where nothing of it is open to the person. */
export function mainCommand(r: Resource, twice?: Set<string>): string | undefined {
  const [first] = r.logins;
  if (r.kind === 'app') return appCommands(r, first)[0];
  return first === undefined ? undefined : sshCommand(r, first, twice);
}

/** Where an app is opened, as a role or identity of its cloud. */
export const launchPath = (r: Resource, as?: string) => (as === undefined ? r.launch : r.launch && `${r.launch}?as=${encodeURIComponent(as)}`);

/** Text from outside, with control and direction-changing characters made visible. */
export const visible = (s: string) => s.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '\u{fffd}');
