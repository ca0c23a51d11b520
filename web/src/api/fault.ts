// The kinds of failure that the cluster's services know, and the two that only a
// browser can see: no answer at all, and one that is not ours.

export const faultKinds = [
  'internal',
  'not_found',
  'already_exists',
  'denied',
  'unauthenticated',
  'invalid',
  'conflict',
  'limit',
  'unavailable',
  'timeout',
  'canceled',
  'unimplemented',
  'untrusted',
] as const;

export type FaultKind = (typeof faultKinds)[number];

/** A failed call. `message` is the server's own English text, for "Details"; `request` finds it in the server's log. */
export class Fault extends Error {
  constructor(
    readonly kind: FaultKind,
    message: string,
    readonly hint = '',
    readonly request = '',
  ) {
    super(message);
  }
}

/** Makes a Fault of whatever was thrown. */
export function faultOf(thrown: unknown): Fault {
  if (thrown instanceof Fault) return thrown;
  return new Fault('internal', thrown instanceof Error ? thrown.message : String(thrown));
}

/** Reads {"error":{…}}; anything else keeps only the status. */
export function readFault(status: number, body: unknown): Fault {
  const inner = (body as { error?: { kind?: unknown; message?: unknown; hint?: unknown; request_id?: unknown } } | null)?.error;
  const kind = faultKinds.find((k) => k === inner?.kind);
  if (kind === undefined || typeof inner?.message !== 'string') {
    return new Fault(status >= 500 ? 'unavailable' : 'internal', `HTTP ${status}`);
  }
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  return new Fault(kind, inner.message, text(inner.hint), text(inner.request_id));
}
