'use strict';
// The last step of a sign-in to an app. What proves it comes in the fragment of the
// address, which no server and no log sees, and leaves the address bar at once.
(async () => {
  const given = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, '', location.pathname);
  const said = document.getElementById('said');
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
    if (!answer.ok) throw new Error(data.error.message);
    location.replace(data.next);
  } catch (e) {
    document.getElementById('title').textContent = 'The sign-in did not work';
    const why = e instanceof Error ? e.message : String(e);
    said.textContent = `${why.charAt(0).toUpperCase()}${why.slice(1)}.`;
    document.getElementById('again').hidden = false;
  }
})();
