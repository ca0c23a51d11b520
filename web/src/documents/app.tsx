import '../host/harden';
import '../kit/app-parts';
import { QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { useCallback, useEffect, useMemo, useState } from 'react';
import { api, type Me } from '../api/cluster';
import { Fault, faultOf } from '../api/fault';
import { RenewDialog, Refused, SignOutFailed, Unreachable } from '../features/frame/public';
import { SignInForm } from '../features/signin/public';
import { browser } from '../host/browser';
import { mount } from '../kit/Page';
import { SessionContext, leaveWithOtherTabs, signInPath, signOut, type Session } from '../session/session';
import { makeRouter } from './routes';

/** Who is here: nobody yet, somebody, or an answer that keeps them out. */
type Who = { state: 'asking' } | { state: 'in'; me: Me } | { state: 'out'; fault: Fault };

function App() {
  const [who, setWho] = useState<Who>({ state: 'asking' });
  const [renewing, setRenewing] = useState<'early' | 'ended' | null>(null);
  const [stuck, setStuck] = useState<Fault | null>(null);
  const client = useMemo(() => makeClient(() => setRenewing('ended')), []);
  const router = useMemo(() => makeRouter(), []);

  const ask = useCallback(async () => {
    try {
      const me = await api.me();
      setWho({ state: 'in', me });
    } catch (thrown) {
      const fault = faultOf(thrown);
      if (fault.kind === 'unauthenticated') browser.leaveFor(signInPath(fault));
      else setWho({ state: 'out', fault });
    }
  }, []);
  const leave = useCallback(async () => {
    setStuck(null);
    try {
      await signOut();
    } catch (thrown) {
      setStuck(faultOf(thrown));
    }
  }, []);
  useEffect(() => void ask(), [ask]);
  useEffect(leaveWithOtherTabs, []);
  useEffect(reloadWhenShownAgain, []);
  const expires = who.state === 'in' ? who.me.expires : null;
  useEffect(() => {
    if (expires === null) return;
    const timer = setInterval(() => Date.now() >= expires * 1000 && setRenewing('ended'), 1000);
    return () => clearInterval(timer);
  }, [expires]);

  const me = who.state === 'in' ? who.me : null;
  const session = useMemo<Session | null>(
    () => me && { me, renew: () => setRenewing('early'), leave: () => void leave() },
    [me, leave],
  );
  const renewed = async () => {
    await ask();
    setRenewing(null);
    await client.invalidateQueries();
  };

  const failed = stuck && <SignOutFailed fault={stuck} again={leave} onClose={() => setStuck(null)} />;
  if (who.state === 'asking') return null;
  if (who.state === 'out') {
    const refused = who.fault.kind === 'denied';
    return (
      <>
        {refused ? <Refused fault={who.fault} leave={leave} /> : <Unreachable fault={who.fault} again={ask} />}
        {failed}
      </>
    );
  }
  return (
    <SessionContext value={session}>
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
        {renewing && (
          <RenewDialog ended={renewing === 'ended'} onClose={() => setRenewing(null)}>
            <SignInForm code user={who.me.user} onDone={() => void renewed()} />
          </RenewDialog>
        )}
        {failed}
      </QueryClientProvider>
    </SessionContext>
  );
}

function makeClient(ended: () => void): QueryClient {
  return new QueryClient({
    queryCache: new QueryCache({
      onError: (thrown) => {
        if (faultOf(thrown).kind === 'unauthenticated') ended();
      },
    }),
    defaultOptions: {
      queries: {
        staleTime: 1000,
        retry: (count, thrown) => faultOf(thrown).kind === 'unavailable' && count < 3,
      },
    },
  });
}

/** A page that the browser kept whole for its back button asks the cluster again. */
function reloadWhenShownAgain() {
  const shown = (e: PageTransitionEvent) => e.persisted && location.reload();
  window.addEventListener('pageshow', shown);
  return () => window.removeEventListener('pageshow', shown);
}

void mount(<App />);
