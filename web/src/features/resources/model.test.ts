import { describe, expect, it } from 'vitest';
import type { Resource } from '../../api/cluster';
import { ambiguous, appCommands, facets, holds, index, launchPath, listCommand, mainCommand, parse, select, shell, sshCommand, toggle, visible, write } from './model';

const node = (name: string, labels: Record<string, string> = {}, more: Partial<Resource> = {}): Resource => ({
  kind: 'node', id: `id-${name}`, name, tunnel: true, labels, logins: ['root'], ...more,
});
const list = [
  node('web-10', { env: 'prod', team: 'pay' }),
  node('web-2', { env: 'prod', team: 'shop' }),
  node('db-1', { env: 'dev', note: 'two words' }, { address: '10.0.0.7:3022' }),
];
const names = (q: string) => select(index(list), parse(q)).map((r) => r.name);

describe('the filter box', () => {
  it('reads words and labels', () => {
    expect(parse(' env=prod orders "two words" note="two words" ')).toEqual({
      words: ['orders', 'two words'],
      labels: [['env', 'prod'], ['note', 'two words']],
    });
    expect(parse('env=')).toEqual({ words: ['env='], labels: [] });
    expect(parse('=x "unclosed')).toBeTruthy();
  });
  it('writes what it reads', () => {
    for (const f of [
      { words: ['a', 'b c', 'q"uote', 'back\\slash'], labels: [['k', 'v'], ['k e', 'v=1'], ['x', '"']] },
      { words: [], labels: [] },
    ] as ReturnType<typeof parse>[]) expect(parse(write(f))).toEqual(f);
  });
  it('toggles a label and never has it twice', () => {
    const once = toggle('web', 'env', 'prod');
    expect(once).toBe('env=prod web');
    expect(holds(parse(once), 'env', 'prod')).toBe(true);
    expect(toggle(once, 'env', 'prod')).toBe('web');
  });
  it('selects and sorts as people count', () => {
    expect(names('')).toEqual(['db-1', 'web-2', 'web-10']);
    expect(names('env=prod')).toEqual(['web-2', 'web-10']);
    expect(names('env=prod PAY')).toEqual(['web-10']);
    expect(names('note="two words"')).toEqual(['db-1']);
    expect(names('10.0.0.7')).toEqual(['db-1']);
    expect(names('env=pro')).toEqual([]);
  });
  it('is fast enough for a key press at ten thousand rows', () => {
    const many = index(Array.from({ length: 10_000 }, (_, i) => node(`n-${i}`, { env: i % 2 ? 'prod' : 'dev' })));
    expect(select(many, parse('env=prod n-99'))).toHaveLength(56);
  });
});

it('counts labels, shared ones last', () => {
  const all = list.map((r) => ({ ...r, labels: { ...r.labels, arch: 'amd64' } }));
  const f = facets(all);
  expect(f[0]).toEqual({ key: 'env', value: 'prod', count: 2 });
  expect(f.at(-1)).toEqual({ key: 'arch', value: 'amd64', count: 3 });
  const many = Array.from({ length: 30 }, (_, i) => node(`n-${i}`, { id: `i-${i}`, env: 'prod' }));
  expect(facets(many)).toEqual([{ key: 'env', value: 'prod', count: 30 }]);
});

describe('commands', () => {
  it('lists the same rows', () => {
    expect(listCommand(parse(''))).toBe('tsh ls');
    expect(listCommand(parse('env=prod team=pay web eu'))).toBe('tsh ls --search=web,eu env=prod,team=pay');
    expect(listCommand(parse('note="two words"'))).toBe(`tsh ls 'note=two words'`);
    expect(listCommand(parse('list="a,b"'))).toBe(`tsh ls --query='labels["list"] == "a,b"'`);
  });
  it('names a row by its id where its name is not unique', () => {
    const twin = node('web-2', {}, { id: 'other' });
    const twice = ambiguous([...list, twin]);
    expect(sshCommand(twin, 'root', twice)).toBe('tsh ssh root@other');
    expect(sshCommand(list[2]!, 'root', twice)).toBe('tsh ssh root@db-1');
  });
  it('cannot be made to run something else', () => {
    expect(shell(`a'; rm -rf /`)).toBe(`'a'\\''; rm -rf /'`);
    expect(shell('')).toBe(`''`);
    expect(shell('$(id)')).toBe(`'$(id)'`);
    expect(sshCommand(node('h'), '-oProxyCommand=x y')).toBe(`tsh ssh '-oProxyCommand=x y@h'`);
  });
});

it('shows what tries to hide', () => {
  expect(visible('a\u202eb\u0007')).toBe('a\ufffdb\ufffd');
});

describe('apps', () => {
  const wiki: Resource = { kind: 'app', id: 'app/wiki', name: 'wiki', tunnel: true, labels: {}, logins: [], launch: '/web/launch/wiki.example' };
  const aws: Resource = { ...wiki, name: 'console', cloud: 'AWS', logins: ['arn:aws:iam::1:role/a b'] };
  it('are opened by the launcher, of a cloud as a role', () => {
    expect(launchPath(wiki)).toBe('/web/launch/wiki.example');
    expect(launchPath(aws, aws.logins[0])).toBe('/web/launch/wiki.example?as=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b');
    const tcp: Resource = { kind: 'app', id: 'app/line', name: 'line', tunnel: true, labels: {}, logins: [] };
    expect(launchPath(tcp)).toBeUndefined();
  });
  it('have their commands', () => {
    expect(appCommands(wiki)).toEqual(['tsh proxy app wiki']);
    expect(appCommands(aws, aws.logins[0])).toEqual(["tsh apps login --aws-role='arn:aws:iam::1:role/a b' console"]);
    expect(appCommands({ ...aws, cloud: 'Other' }, 'x')).toEqual([]);
    expect(appCommands({ ...wiki, name: 'lines', ports: ['7001', '7100-7110'] })).toEqual(['tsh proxy app --port=0:7001 lines', 'tsh proxy app --port=0:7100 lines']);
  });
  it('are never taken for servers', () => {
    expect(mainCommand(aws)).toBe("tsh apps login --aws-role='arn:aws:iam::1:role/a b' console");
    expect(mainCommand({ ...aws, logins: [] })).toBeUndefined();
    expect(mainCommand(wiki)).toBe('tsh proxy app wiki');
    expect(mainCommand(node('web-1'))).toBe('tsh ssh root@web-1');
    expect(ambiguous([wiki, node('wiki')])).toEqual(new Set());
    expect(listCommand(parse('env=prod'), [wiki])).toBe('tsh apps ls env=prod');
    expect(listCommand(parse('web'), [wiki, node('web-1')])).toBe('tsh ls --search=web && tsh apps ls --search=web');
  });
});
