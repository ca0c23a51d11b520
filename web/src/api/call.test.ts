import { afterEach, describe, expect, it, vi } from 'vitest';
import { call } from './call';
import { Fault, readFault } from './fault';

const answer = (status: number, body: string) => Promise.resolve(new Response(body, { status }));
let asked: Request[] = [];

function server(reply: () => Promise<Response>) {
  asked = [];
  vi.stubGlobal('fetch', (path: string, init: RequestInit) => {
    asked.push(new Request(new URL(path, 'https://proxy.example'), init));
    return reply();
  });
}
afterEach(() => vi.unstubAllGlobals());

describe('call', () => {
  it('sends and reads JSON', async () => {
    server(() => answer(200, '{"a":1}'));
    expect(await call('POST', 'x', { body: { b: 2 } })).toEqual({ a: 1 });
    expect(asked[0]!.url).toBe('https://proxy.example/webapi/x');
    expect(asked[0]!.headers.get('content-type')).toBe('application/json');
    expect(asked[0]!.headers.has('x-teleport-background')).toBe(false);
    expect(await asked[0]!.json()).toEqual({ b: 2 });
  });
  it('marks what a timer asks', async () => {
    server(() => answer(200, '{}'));
    await call('GET', 'x', { background: true });
    expect(asked[0]!.headers.get('x-teleport-background')).toBe('1');
  });
  it('throws the kind that the server names', async () => {
    server(() => answer(403, '{"error":{"kind":"denied","message":"no","hint":"ask"}}'));
    await expect(call('GET', 'x')).rejects.toMatchObject({ kind: 'denied', message: 'no', hint: 'ask' });
  });
  it('keeps the id that finds it in the log', async () => {
    server(() => answer(503, '{"error":{"kind":"unavailable","message":"no","request_id":"r1"}}'));
    await expect(call('GET', 'x')).rejects.toMatchObject({ kind: 'unavailable', request: 'r1' });
  });
  it('calls a silent or foreign peer unavailable', async () => {
    server(() => Promise.reject(new TypeError('refused')));
    await expect(call('GET', 'x')).rejects.toMatchObject({ kind: 'unavailable' });
    server(() => answer(502, '<html>Bad gateway</html>'));
    await expect(call('GET', 'x')).rejects.toMatchObject({ kind: 'unavailable' });
    server(() => answer(200, '<html>a captive portal</html>'));
    await expect(call('GET', 'x')).rejects.toMatchObject({ kind: 'unavailable' });
  });
});

it('makes a Fault of any answer', () => {
  for (const body of [null, 1, 'x', [], {}, { error: null }, { error: { kind: 'new', message: 'm' } }, { error: { kind: 'denied' } }]) {
    const fault = readFault(400, body);
    expect(fault).toBeInstanceOf(Fault);
    expect(fault.kind).toBe('internal');
  }
});
