'use strict';
// The last step of a sign-in to an app. What proves it comes in the fragment of the
// address, which no server and no log sees, and leaves the address bar at once.
(async () => {
  const given = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, '', location.pathname);
  const by = (id) => document.getElementById(id);
  const say = (cls, text) => {
    if (!text) return;
    const p = document.createElement('p');
    p.className = cls;
    p.textContent = `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.+$/, '')}.`;
    by('said').append(p);
  };
  let refused = null;
  try {
    const answer = await fetch('/x-teleport-auth', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
      body: JSON.stringify({
        state: given.get('state') ?? '',
        session: given.get('session') ?? '',
        path: given.get('path') ?? '',
        apps: given.get('apps') ?? '',
        as: given.get('as') ?? '',
      }),
      credentials: 'same-origin',
      redirect: 'error',
    });
    const data = await answer.json();
    if (!answer.ok) {
      refused = data.error ?? { message: `the app's address answered ${answer.status}` };
      throw new Error(refused.message);
    }
    location.replace(data.next);
  } catch (e) {
    document.title = by('title').textContent = 'The sign-in did not work';
    say('why', e instanceof Error ? e.message : String(e));
    by('again').hidden = false;
    if (!refused?.request_id) return;
    by('request').textContent = refused.request_id;
    by('id').hidden = false;
  }
})();
