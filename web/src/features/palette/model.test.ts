import { expect, it } from 'vitest';
import type { Resource } from '../../api/cluster';
import { rank, score, shells, type Entry } from './model';

const entry = (title: string, group: Entry['group'] = 'resource', words = ''): Entry => ({ id: title, group, title, words, run: () => {} });
const node = (name: string): Resource => ({ kind: 'node', id: name, name, tunnel: true, labels: {}, logins: ['root', 'ubuntu'] });

it('wants every word, and likes beginnings', () => {
  expect(score('web-2', 'web')).toBeGreaterThan(score('my web', 'web'));
  expect(score('my web', 'web')).toBeGreaterThan(score('cobweb', 'web'));
  expect(score('web-2', 'web 3')).toBe(0);
});

it('ranks, and knows the prefix for actions', () => {
  const all = [entry('theme web', 'action'), entry('cobweb'), entry('web-2'), entry('ssh web-2', 'command')];
  expect(rank(all, 'web').map((e) => e.title)).toEqual(['web-2', 'theme web', 'ssh web-2', 'cobweb']);
  expect(rank(all, '>web').map((e) => e.title)).toEqual(['theme web']);
  expect(rank(all, '').map((e) => e.group)).not.toContain('command');
});

it('speaks ssh', () => {
  const list = [node('web-1'), node('web-2'), node('db')];
  const said = (typed: string) => shells(list, typed).map((x) => `${x.login}@${x.resource.name}`);
  expect(said('ssh root@web-2')).toEqual(['root@web-2']);
  expect(said('tsh ssh web')).toEqual(['root@web-1', 'ubuntu@web-1', 'root@web-2', 'ubuntu@web-2']);
  expect(said('ub@')).toEqual(['ubuntu@web-1', 'ubuntu@web-2', 'ubuntu@db']);
  expect(said('web')).toEqual([]);
  const app: Resource = { ...node('web-console'), kind: 'app' };
  expect(shells([app], 'ssh web')).toEqual([]);
});
