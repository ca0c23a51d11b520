// The calls of this UI and the shapes of their answers (proxy/webapi).
import { call } from './call';

export interface Ping {
  cluster_name: string;
  server_version: string;
  proxy: { ssh: { public_addr: string } };
  auth: { second_factor: string; message_of_the_day?: string; allow_local: boolean };
}

export interface Me {
  user: string;
  cluster: string;
  roles: string[];
  /** Unix seconds. */
  expires: number;
  version: string;
  /** The proxy's public address, for command lines. */
  proxy: string;
  /** What the roles allow by kind, as far as this UI asks: {"token":["create"]}. */
  rights?: Record<string, string[]>;
}

export interface Link {
  user: string;
  cluster: string;
  purpose: 'invite' | 'reset';
  otp_secret?: string;
  /** base64 of a PNG. */
  otp_qr?: string;
  /** Unix seconds. */
  expires: number;
}

export interface Resource {
  kind: string;
  id: string;
  name: string;
  address?: string;
  tunnel: boolean;
  version?: string;
  description?: string;
  labels: Record<string, string>;
  /** Of an app in a cloud: the roles or identities that may be taken there. */
  logins: string[];
  /** Path of the launcher, for an app that browsers open. */
  launch?: string;
  /** AWS, Azure or GCP. */
  cloud?: string;
  /** Of an app: HTTP, TCP, or its cloud. */
  type?: string;
  /** Of a TCP app that has several: "7001", or "7100-7110". */
  ports?: string[];
  /** Why an app answers none of its agents. */
  ill?: string;
}

export interface Launch {
  host: string;
  path: string;
  apps: string;
  as: string;
  chain: boolean;
  state: string;
}

export interface Launched {
  url: string;
  app: string;
  /** Apps that this one needs and that do not open with it. */
  without?: { app: string; why: string }[];
}

export interface Proofs {
  user: string;
  password: string;
  otp: string;
}

export const api = {
  ping: () => call<Ping>('GET', 'ping'),
  me: (o: { background?: boolean } = {}) => call<Me>('GET', 'sessions/web', o),
  signIn: (body: Proofs) => call<{ user: string; expires: number }>('POST', 'sessions/web', { body }),
  signOut: () => call<unknown>('DELETE', 'sessions/web'),
  /** Where the browser goes next on its way to an app. */
  launch: (body: Launch) => call<Launched>('POST', 'sessions/app', { body }),
  link: (token: string) => call<Link>('GET', `invites/${encodeURIComponent(token)}`),
  /** `signed_in` says that the answer also began a session. */
  accept: (token: string, body: { password: string; otp: string }) =>
    call<{ user: string; signed_in?: boolean }>('POST', `invites/${encodeURIComponent(token)}`, { body }),
  resources: (o: { signal?: AbortSignal; background?: boolean } = {}) =>
    call<{ items: Resource[] }>('GET', 'resources', o).then((a) => a.items),
};
