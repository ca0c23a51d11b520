// What a person does in the browser, by keyboard alone, against a real cluster:
//
//   TELEPORT_URL=https://127.0.0.1:3080 TELEPORT_INVITE=https://…/web/invite/… \
//   TELEPORT_PASSWORD='twelve or more' node web/e2e/run.mjs
//
// Prints {"otp_secret": "…", "otp_step": …}, with the last time step of which a code was
// used, and exits with 0 when everything was as it should be.
// SHOTS=folder keeps pictures, CHROMIUM names another browser.
import { open } from './browser.mjs';
import { code, stepAt } from './totp.mjs';

const need = (name) => process.env[name] || fail(`${name} is not set`);
function fail(why) {
  console.error(why);
  process.exit(2);
}

const origin = new URL(need('TELEPORT_URL')).origin;
const invite = new URL(need('TELEPORT_INVITE'), origin).pathname;
const password = need('TELEPORT_PASSWORD');
const b = await open(origin, process.env.SHOTS);
const { page, context } = b;
const key = (k) => page.keyboard.press(k);
const type = (text) => page.keyboard.type(text);
const see = (text) => page.getByText(text).first().waitFor();
let secret = '';
let spent = 0; // the last time step whose code was used

/** The first code that was not used yet; the cluster takes one step ahead of its clock. */
async function freshCode() {
  const step = Math.max(stepAt(Date.now()), spent + 1);
  const early = (step - 1) * 30_000 - Date.now();
  if (early > 0) await new Promise((done) => setTimeout(done, early + 500));
  spent = step;
  return code(secret, step);
}

const main = () => page.getByRole('heading', { name: 'Resources', level: 1 }).waitFor();
const palette = page.locator('input[role=combobox]'); // other pages have lists to choose from
const inCommands = async (text) => {
  await key('Control+k');
  await page.locator('input[role=combobox]:focus').waitFor(); // it gets the focus a moment after it is there
  await type(text);
  await key('Enter');
  await palette.waitFor({ state: 'detached' }); // keys go elsewhere until then
};

const journeys = {
  async 'a dead link says who can renew it'() {
    await page.goto(`/web/invite/${'0'.repeat(32)}`);
    await see('This link no longer works');
    await see('tctl users reset NAME');
    await b.check('dead-link');
  },
  async 'an invite is accepted'() {
    await page.goto(invite);
    await see('Welcome,');
    await page.locator('input[name=password]:focus').waitFor();
    await type('too short');
    await key('Enter');
    await see('Use at least 12 characters');
    await b.check('invite-short');
    await key('Control+a');
    await type(password);
    await b.check('invite-password');
    await key('Enter');
    await see('Add your authenticator');
    await page.locator('img[src^="blob:"]').waitFor();
    secret = (await page.getByRole('group', { name: 'secret of the authenticator' }).innerText()).replace(/\s/g, '');
    await page.locator('input[name=otp]:focus').waitFor();
    await type('000000');
    await key('Enter');
    await see('That code is wrong');
    await b.check('invite-code');
    await page.locator('input[name=otp]').focus();
    await type(await freshCode());
    await key('Enter');
    await Promise.race([main(), see('Your account is ready')]);
    if (await page.getByText('Your account is ready').isVisible()) {
      await b.check('invite-signin');
      await page.locator('input[name=otp]:focus').waitFor();
      await type(await freshCode());
      await key('Enter');
    }
    await main();
  },
  async 'resources are listed and filtered'() {
    const row = page.getByRole('row').nth(1);
    const empty = page.getByText('No resources yet');
    await Promise.race([row.waitFor(), empty.waitFor()]);
    await b.check('resources');
    if (await empty.isVisible()) return see('tctl tokens add --type=node');
    await key('/');
    await page.locator('input:focus').waitFor();
    await type('zzz no such thing');
    await see('Nothing matches');
    await b.check('resources-none');
    await key('Escape');
    await row.waitFor();
    await b.tabTo(() => document.activeElement?.role === 'row');
    await key('Enter');
    await see('Host ID');
    await b.check('resources-details');
    await key('Escape');
    await page.locator('[role=row]:focus').waitFor();
    await key('c');
    await page.getByRole('menu').waitFor();
    await b.check('resources-connect');
    const login = page.locator('[data-login]').first();
    if (await login.isVisible()) {
      const command = await login.locator('code').innerText();
      await page.locator('[role=menuitem]:focus').waitFor();
      await key('Enter');
      await page.getByText(`Copied: ${command}`).first().waitFor({ state: 'attached' });
      const copied = await page.evaluate(() => navigator.clipboard.readText());
      if (!copied.startsWith('tsh ssh ') || copied !== command) throw new Error(`copied ${copied}, shown ${command}`);
    }
    await key('Escape');
    await page.locator('[data-connect]:focus').waitFor();
  },
  async 'the keys are told, theme and language change'() {
    await page.evaluate(() => document.activeElement?.blur());
    await page.getByRole('button', { name: /^Account of/ }).focus();
    await key('Enter');
    await page.getByRole('menuitemradio', { name: 'Dark' }).waitFor();
    await b.check('account');
    await key('Escape');
    await page.getByRole('menu').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Labels', exact: true }).focus();
    await key('Enter');
    await page.getByRole('menu').waitFor();
    await b.check('facets');
    await key('Escape');
    await page.getByRole('menu').waitFor({ state: 'detached' });
    await key('?');
    await see('Keyboard shortcuts');
    await b.check('keys');
    await key('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await key('Control+k');
    await palette.waitFor();
    await b.check('palette');
    await key('Escape');
    await palette.waitFor({ state: 'detached' });
    await inCommands('theme dark');
    await page.locator('html[data-mantine-color-scheme=dark]').waitFor();
    await b.check('resources-dark');
    await inCommands('language ko');
    await page.locator('html[lang=ko]').waitFor();
    await page.getByRole('heading', { name: '리소스', level: 1 }).waitFor();
    await b.check('resources-dark-ko');
    await page.setViewportSize({ width: 360, height: 720 });
    await b.check('resources-phone-dark-ko');
    await page.setViewportSize({ width: 320, height: 640 });
    await b.check('resources-320-ko');
    await inCommands('theme light');
    await page.locator('html[data-mantine-color-scheme=light]').waitFor();
    await inCommands('language en');
    await main();
    await page.setViewportSize({ width: 360, height: 720 });
    await b.check('resources-phone');
    await page.setViewportSize({ width: 1280, height: 800 });
  },
  async 'a session that ended is renewed in place'() {
    const cookies = await context.cookies();
    const [session] = cookies.filter((c) => c.name === '__Host-session');
    const good = session?.secure && session.httpOnly && session.sameSite === 'Strict' && session.path === '/';
    if (!good) throw new Error(`the session cookie is ${JSON.stringify({ ...session, value: '…' })}`);
    await context.clearCookies();
    await page.reload();
    await page.waitForURL(/\/web\/login\?redirect_uri=/);
    await context.addCookies(cookies);
    await page.goto('/web/');
    await main();
    await context.clearCookies();
    await see('Your session has ended');
    await page.locator('input[name=password]:focus').waitFor();
    await b.check('session-ended');
    await context.addCookies(cookies);
    await page.reload();
    await main();
  },
  async 'signing out leaves nothing behind'() {
    await inCommands('>sign out');
    await see('You are signed out');
    await b.check('bye');
    await page.goBack();
    await page.waitForURL(/\/web\/(login|bye|invite)/);
    if (await page.getByRole('grid').count()) throw new Error('the back button shows the list');
    const left = (await context.cookies()).filter((c) => c.name === '__Host-session');
    if (left.length) throw new Error('the session cookie is still there');
  },
  async 'a wrong password reads like a wrong name'() {
    await page.goto('/web/login');
    await page.locator('input[name=username]:focus').waitFor();
    await b.check('login');
    await type('nobody');
    await key('Tab');
    await type('not the password');
    await key('Enter');
    await page.locator('input[name=otp]:focus').waitFor();
    await b.check('login-code');
    await type('123456');
    await key('Enter');
    await see('That did not match');
    await page.locator('input[name=password]:focus').waitFor();
    await b.check('login-wrong');
    await page.setViewportSize({ width: 360, height: 720 });
    await page.getByLabel('Theme').selectOption('dark');
    await b.check('login-wrong-phone-dark');
    await page.getByLabel('Language').selectOption('ko');
    await page.getByRole('heading', { name: '로그인' }).waitFor();
    await b.check('login-phone-dark-ko');
  },
};

try {
  for (const [name, walk] of Object.entries(journeys)) {
    await walk().catch(async (e) => {
      if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/failed.png` });
      throw new Error(`${name}: ${e.message}\n  at ${page.url()}, focus on "${await b.focus()}"`);
    });
  }
  if (b.faults.length) throw new Error(b.faults.join('\n'));
  console.log(JSON.stringify({ otp_secret: secret, otp_step: spent }));
} catch (e) {
  console.error(e.message);
  for (const f of b.faults) console.error(f);
  process.exitCode = 1;
} finally {
  await b.close();
}
