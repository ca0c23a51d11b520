import { Fault, readFault } from './fault';

const patience = 20_000; // ms until a call counts as unanswered

export interface CallOptions {
  body?: unknown;
  signal?: AbortSignal;
  /** Nobody asked for this call, a timer did: it does not keep the session from going idle. */
  background?: boolean;
}

/** One JSON call to the proxy. Throws a Fault. */
export async function call<T>(method: 'GET' | 'POST' | 'DELETE', path: string, o: CallOptions = {}): Promise<T> {
  const limit = AbortSignal.timeout(patience);
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (o.body !== undefined) headers['Content-Type'] = 'application/json';
  if (o.background) headers['X-Teleport-Background'] = '1';
  let answer: Response;
  let data: unknown;
  try {
    answer = await fetch(`/webapi/${path}`, {
      method,
      headers,
      body: o.body === undefined ? null : JSON.stringify(o.body),
      signal: o.signal ? AbortSignal.any([o.signal, limit]) : limit,
      credentials: 'same-origin',
      redirect: 'error',
    });
    data = await answer.json().catch(() => null);
  } catch (e) {
    if (o.signal?.aborted) throw new Fault('canceled', 'canceled');
    if (limit.aborted) throw new Fault('timeout', `no answer in ${patience / 1000} s`);
    throw new Fault('unavailable', e instanceof Error ? e.message : String(e));
  }
  if (!answer.ok) throw readFault(answer.status, data);
  if (data === null) throw new Fault('unavailable', 'the answer is not JSON');
  return data as T;
}
