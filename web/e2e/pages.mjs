// What a person reads when an app does not open, and what the list says of apps of each
// kind: in light, in dark and on a phone, by keyboard where the house has the keys.
//
//   TELEPORT_URL=https://proxy:3080 TELEPORT_LONG=the-longest-name TELEPORT_STAGE=http://… \
//   TELEPORT_USERS=NAME⇥PASSWORD⇥SECRET⇥STEP⇥NAME⇥PASSWORD⇥SECRET⇥STEP node web/e2e/pages.mjs
//
// STEP is the last time step of which a code was used.
// TELEPORT_STAGE runs what is posted there as arguments of an administrator's tctl.
// TELEPORT_HOSTS and SHOTS are as for apps.mjs. The last line has the commands that the
// list shows, for somebody to try.
import { open } from './browser.mjs';
import { codeAfter } from './totp.mjs';

const need = (name) => {
  const value = process.env[name];
  if (value) return value;
  console.error(`${name} is not set`);
  process.exit(2);
};
const origin = new URL(need('TELEPORT_URL')).origin;
const long = need('TELEPORT_LONG');
const at = (app) => origin.replace('://', `://${app}.`);
const host = (app) => new URL(at(app)).hostname;
const apps = ['wiki', 'down', 'lacks', 'console', 'gcp', long].map(at);
const b = await open(origin, process.env.SHOTS, { args: [`--host-resolver-rules=${process.env.TELEPORT_HOSTS ?? ''}`], apps });
const { page, context } = b;
const words = need('TELEPORT_USERS').split('\t');
const [alice, bob] = [words.slice(0, 4), words.slice(4)];
const see = (text) => page.getByText(text).first().waitFor();
const title = (name) => page.getByRole('heading', { level: 1, name }).waitFor();
const key = (k) => page.keyboard.press(k);
const tctl = async (line) => (await fetch(need('TELEPORT_STAGE'), { method: 'POST', body: line })).json();
const shown = [];
const requestID = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/;

async function signIn([user, password, secret, used]) {
  await page.waitForURL((u) => u.href.startsWith(`${origin}/web/login`));
  await page.locator('input[name=username]').fill(user);
  await page.locator('input[name=password]').fill(password);
  await key('Enter');
  await page.locator('input[name=otp]').fill(await codeAfter(secret, Number(used)));
  await key('Enter');
}

/** A page in dark, and in light on a phone: each look costs a second, or some. */
async function looks(name) {
  await page.emulateMedia({ colorScheme: 'dark' });
  await b.check(`${name}-dark`);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 390, height: 844 });
  await b.check(`${name}-phone`);
  await page.setViewportSize({ width: 1280, height: 800 });
}

/** A page at an app's address: it names its request, and says nothing twice. */
async function tells(name, ...texts) {
  for (const text of texts) await see(text);
  await looks(name);
  const width = await page.evaluate(() => getComputedStyle(document.querySelector('main')).maxWidth);
  const inline = await page.locator('style, [style], script:not([src])').count();
  if (width !== '480px' || inline) throw new Error(`its sheet is not there (${width}), or ${inline} things are inline`);
  const said = await page.locator('main').innerText();
  if (!requestID.test(said)) throw new Error(`it does not name its request: ${said}`);
  const lines = said.toLowerCase().split('\n').map((l) => l.replace(/^the app |\.$/g, '')).filter(Boolean);
  if (new Set(lines).size < lines.length) throw new Error(`it says a thing twice: ${said}`);
}

const menuOf = async (name, verb) => {
  await page.getByRole('button', { name: `${verb} ${name}`, exact: true }).click();
  await page.locator('[role=menu]:focus-within').waitFor(); // it gets the focus a moment after it is there, and with it the keys
  if (['console', 'azure', long].includes(name)) await b.check(`menu-${name}`);
  const commands = await page.locator('[data-command]').evaluateAll((all) => all.map((e) => e.dataset.command));
  const opens = await page.locator('[data-launch]').count();
  await key('Escape');
  await page.getByRole('menu').waitFor({ state: 'detached' });
  return { commands, opens };
};

const journeys = {
  async 'the sign-in says what for'() {
    await page.goto(`${at('wiki')}/page`);
    await see(`To open ${host('wiki')}`);
    await b.check('login-for-app');
    await signIn(alice);
    await see('asked for /page');
  },
  async 'the list comes without a jump, and shows each app as what it is'() {
    await context.addInitScript(() => {
      globalThis.jumps = 0;
      new PerformanceObserver((list) => {
        for (const e of list.getEntries()) if (!e.hadRecentInput) globalThis.jumps += e.value;
      }).observe({ type: 'layout-shift', buffered: true });
    });
    await page.goto(`${origin}/web/`);
    await page.getByRole('row').nth(1).waitFor();
    await page.locator('[role=row]', { hasText: 'down' }).getByText('Does not answer').waitFor();
    const jumps = await page.evaluate(() => globalThis.jumps);
    if (jumps > 0.02) throw new Error(`the page jumped by ${jumps}`);
    await looks('apps');
    if (await page.locator('[role=row]', { hasText: 'wiki' }).getByText('Does not answer').count()) throw new Error('the wiki is said not to answer');
  },
  async 'it shows how to open each, and its command'() {
    shown.push(await page.locator('footer code').innerText());
    if (shown[0] !== 'tsh apps ls') throw new Error(`the list is ${shown[0]}`);
    for (const [name, verb, opens, commands] of [['wiki', 'Open', 1, 1], [long, 'Open', 1, 1], ['console', 'Open', 2, 2], ['gcp', 'Connect to', 0, 1],
      ['azure', 'Connect to', 0, 0], ['lines', 'Connect to', 0, 2], ['shop-db', 'Connect to', 0, 1]]) {
      const menu = await menuOf(name, verb);
      if (menu.opens !== opens || menu.commands.length !== commands) throw new Error(`${name}: ${JSON.stringify(menu)}`);
      shown.push(...menu.commands);
    }
  },
  async 'by keyboard: a console is no server'() {
    await key('/');
    await page.locator('input:focus').waitFor();
    await page.keyboard.type('console');
    await page.getByText('1 of').first().waitFor();
    await b.tabTo(() => document.activeElement?.role === 'row');
    await key('y');
    await page.getByText(/^Copied: tsh apps login --aws-role=/).first().waitFor({ state: 'attached' });
    await key('c');
    await page.locator('[role=menuitem]:focus').waitFor();
    await key('Escape');
    await page.locator('[data-connect]:focus').waitFor();
    await key('ArrowUp');
    await page.locator('[role=row]:focus').waitFor();
    await key('Enter');
    await page.getByRole('complementary').waitFor();
    await looks('console-details');
    await key('Escape');
    await page.locator('[role=row]:focus').waitFor();
    await key('/');
    await page.locator('input:focus').waitFor();
    await key('Escape');
    await page.getByText('1 of').first().waitFor({ state: 'detached' });
  },
  async 'a long name and many labels'() {
    await page.getByRole('button', { name: long, exact: true }).click();
    await page.getByRole('complementary').waitFor();
    await looks('long-details');
  },
  async 'the launcher tells details'() {
    for (const [name, path] of [['missing', 'nothing.example'], ['denied', host('secret')], ['of-programs', `${host('gcp')}?as=reports@figures.iam.gserviceaccount.com`]]) {
      await page.goto(`${origin}/web/launch/${path}`);
      await page.locator('summary').click();
      await looks(`launcher-${name}`);
      if (!requestID.test(await page.getByRole('alert').innerText())) throw new Error(`${name} does not name its request`);
    }
  },
  async 'what an app needs and cannot have is said in sentences'() {
    await page.goto(`${at('lacks')}/page`);
    await title('lacks needs more than you can open');
    await see('No agent fronts it at the moment');
    await see('opened by itself and as one of your roles');
    await looks('lacks');
  },
  async 'an app that is down'() {
    await page.goto(`${at('down')}/`);
    await title('down cannot be reached');
    await tells('down', 'Its agent is there', 'Try again');
  },
  async 'a hand-over that is not ours'() {
    await page.goto(`${at('wiki')}/x-teleport-auth/finish#state=${'0'.repeat(64)}_${'0'.repeat(32)}&session=${'0'.repeat(32)}.${'0'.repeat(32)}&path=/`);
    await title('The sign-in did not work');
    await tells('refused', 'Open the app again');
  },
  async 'cookies that have grown too large'() {
    const url = at('wiki');
    await context.addCookies(Array.from({ length: 12 }, (_, i) => ({ name: `grown${i}`, value: 'x'.repeat(3900), url })));
    await page.goto(`${url}/page`);
    await title('Your browser sends too much to wiki');
    await tells('too-much', `Delete the cookies of ${host('wiki')} `);
    await context.clearCookies({ name: /^grown/ });
  },
  async 'a form whose session has ended is sent once more'() {
    await page.goto(`${at('wiki')}/page`);
    await see('asked for /page');
    await page.setContent('<form method=post action="/save?draft=1"><textarea name=text>a long text</textarea><button>Save</button></form>');
    await context.clearCookies({ name: /grv_app_session/ });
    await page.getByRole('button', { name: 'Save' }).click();
    await title('What you sent did not reach wiki');
    await tells('form', 'reload this page');
    const [aside] = await Promise.all([context.waitForEvent('page'), page.getByRole('link', { name: 'Sign in in another tab' }).click()]);
    await aside.getByText('asked for /').waitFor();
    await aside.close();
    await page.reload();
    await see('asked for /save?draft=1');
  },
  async 'an app that one has signed out of'() {
    await page.goto(`${at('wiki')}/teleport-logout`);
    await title(`You are signed out of ${host('wiki')}`);
    await looks('bye-app');
    await page.getByRole('link', { name: 'Open it again' }).click();
    await see('asked for /');
  },
  async 'a session that ended elsewhere'() {
    await page.goto(`${origin}/web/`);
    await page.getByRole('row').nth(1).waitFor();
    const kept = await context.cookies(origin);
    const gone = await page.evaluate(async () => (await fetch('/webapi/sessions/web', { method: 'DELETE' })).status);
    if (gone !== 200) throw new Error(`the sign-out: ${gone}`);
    await context.clearCookies();
    await context.addCookies(kept);
    await page.goto(`${at('wiki')}/page`);
    await see(`Your session has ended. Sign in again to open ${host('wiki')}`);
    await looks('login-ended');
    await signIn(bob);
    await see('asked for /page');
  },
  async 'who is locked is told why'() {
    const { code: status, said } = await tctl(`lock --user=${bob[0]} --message=laptop-stolen --ttl=1h`);
    if (status !== 0) throw new Error(said);
    // A lock cuts what is under way, which is no answer.
    await page.waitForFunction(async () => (await fetch('/page').catch(() => ({}))).status === 403);
    await page.goto(`${at('wiki')}/page`);
    await title('You may not use wiki');
    await tells('locked', 'laptop-stolen');
    await page.goto(`${origin}/web/`);
    await see('laptop-stolen');
    await looks('locked-web');
  },
};

await b.walk(journeys, () => console.log(`COMMANDS ${JSON.stringify(shown)}`));
