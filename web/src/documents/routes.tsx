import { Navigate, Outlet, createRootRoute, createRoute, createRouter, redirect, useNavigate, useParams, useRouterState } from '@tanstack/react-router';
import { useState } from 'react';
import { Frame } from '../features/frame/public';
import { Palette } from '../features/palette/public';
import { ResourcesPage, type Place } from '../features/resources/public';
import { useText } from '../i18n/text';
import states from '../kit/states.module.css';
import { Net } from '../kit/Page';
import { useSession } from '../session/session';
import { useAnswers } from './answers';
import { usePaletteKey } from './usePaletteKey';

/** The application's routes, all below /web. */
export function makeRouter() {
  const root = createRootRoute({ component: Shell, notFoundComponent: Nowhere });
  const home = createRoute({ getParentRoute: () => root, path: '/', component: Home });
  const bare = createRoute({
    getParentRoute: () => root,
    path: '/cluster/$cluster',
    beforeLoad: ({ params, location }) => {
      if (/^\/cluster\/[^/]+\/?$/.test(location.pathname)) throw redirect({ to: '/cluster/$cluster/resources', params, replace: true });
    },
    component: Outlet,
  });
  const resources = createRoute({
    getParentRoute: () => bare,
    path: '/resources',
    validateSearch: readPlace,
    component: Resources,
  });
  return createRouter({
    routeTree: root.addChildren([home, bare.addChildren([resources])]),
    basepath: '/web',
    defaultPreload: 'intent',
    scrollRestoration: false,
  });
}

/** What an address may hold; anything else is left out. */
export function readPlace(search: Record<string, unknown>): Place {
  const text = (v: unknown, most: number) => (typeof v === 'string' || typeof v === 'number' ? String(v).slice(0, most) : '');
  const place: Place = {};
  const [q, sel] = [text(search.q, 1000), text(search.sel, 100)];
  if (q) place.q = q;
  if (sel) place.sel = sel;
  if (search.add === true) place.add = true;
  return place;
}

/** The frame around every page, and the palette over it. */
function Shell() {
  const { me } = useSession();
  const navigate = useNavigate();
  const params = useParams({ strict: false });
  const path = useRouterState({ select: (s) => s.location.pathname });
  const [palette, setPalette] = useState(false);
  const cluster = params.cluster ?? me.cluster;
  usePaletteKey(() => setPalette(true));
  const goResources = (place: Place = {}) => void navigate({ to: '/cluster/$cluster/resources', params: { cluster: me.cluster }, search: place });
  return (
    <Frame
      cluster={cluster}
      here={path.endsWith('/resources') ? 'resources' : null}
      resourcesPath={`/web/cluster/${encodeURIComponent(me.cluster)}/resources`}
      goResources={() => goResources()}
      openPalette={() => setPalette(true)}
    >
      <Net>
        <Outlet />
      </Net>
      {palette && <AppPalette cluster={me.cluster} goResources={goResources} onClose={() => setPalette(false)} />}
    </Frame>
  );
}

interface PaletteProps {
  cluster: string;
  goResources: (place?: Place) => void;
  onClose: () => void;
}

function AppPalette({ cluster, goResources, onClose }: PaletteProps) {
  const answer = useAnswers(cluster, goResources);
  return <Palette answer={answer} search={(q) => goResources({ q })} onClose={onClose} />;
}

function Home() {
  const { me } = useSession();
  return <Navigate to="/cluster/$cluster/resources" params={{ cluster: me.cluster }} replace />;
}


function Resources() {
  const { cluster } = useParams({ from: '/cluster/$cluster/resources' });
  const { me } = useSession();
  const place = useRouterState({ select: (s) => readPlace(s.location.search as Record<string, unknown>) });
  const navigate = useNavigate();
  if (cluster !== me.cluster) return <Nowhere />;
  return (
    <ResourcesPage
      cluster={cluster}
      place={place}
      go={(next, how) =>
        void navigate({ to: '/cluster/$cluster/resources', params: { cluster }, search: readPlace({ ...next }), replace: how?.replace ?? false })
      }
    />
  );
}

function Nowhere() {
  const { t } = useText();
  return (
    <div className={states.state}>
      <h1 className={states.head}>{t('nowhere.title')}</h1>
      <a href="/web/">{t('nowhere.go')}</a>
    </div>
  );
}
