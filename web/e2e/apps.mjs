// What a person does with an app in the browser: Jupyter, which nobody here wrote,
// behind a real cluster.
//
//   TELEPORT_URL=https://proxy:3080 TELEPORT_APP=https://jupyter.proxy:3080 \
//   TELEPORT_USER=alice TELEPORT_PASSWORD=… TELEPORT_OTP_SECRET=… node web/e2e/apps.mjs
//
// TELEPORT_HOSTS is Chromium's --host-resolver-rules, TELEPORT_DOWN an app that does
// not run, TELEPORT_LACKS one that needs another that is not there, SHOTS a folder for
// pictures.
import { open } from './browser.mjs';
import { code, stepAt } from './totp.mjs';

const need = (name) => {
  const value = process.env[name];
  if (value) return value;
  console.error(`${name} is not set`);
  process.exit(2);
};
const origin = new URL(need('TELEPORT_URL')).origin;
const app = new URL(need('TELEPORT_APP')).origin;
const down = new URL(need('TELEPORT_DOWN')).origin;
const lacks = new URL(need('TELEPORT_LACKS')).origin;
const b = await open(origin, process.env.SHOTS, { args: [`--host-resolver-rules=${process.env.TELEPORT_HOSTS ?? ''}`], apps: [app, down, lacks] });
const { page, context } = b;
const see = (text) => page.getByText(text).first().waitFor();
const at = (start) => page.waitForURL((u) => u.href.startsWith(start));

/** A picture in light, in dark and on a phone. */
async function shots(name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await b.check(`${name}-${colorScheme}`);
  }
  await page.setViewportSize({ width: 360, height: 720 });
  await b.check(`${name}-phone`);
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: 'light' });
}

async function signIn() {
  await at(`${origin}/web/login`);
  await page.locator('input[name=username]').fill(need('TELEPORT_USER'));
  await page.locator('input[name=password]').fill(need('TELEPORT_PASSWORD'));
  await page.keyboard.press('Enter');
  // The cluster takes one step ahead of its clock; that of now may be used.
  await page.locator('input[name=otp]').fill(await code(need('TELEPORT_OTP_SECRET'), stepAt(Date.now()) + 1));
  await page.keyboard.press('Enter');
}

const journeys = {
  async 'an app leads to the sign-in and back to its page'() {
    await page.goto(`${app}/tree?of=files`);
    await signIn();
    await at(`${app}/tree?of=files`);
    await page.locator('#notebook_list').waitFor();
  },
  async 'scripts read no cookie of the session'() {
    const seen = await page.evaluate(() => document.cookie);
    if (seen.includes('grv_app')) throw new Error(`scripts see ${seen}`);
    const kept = (await context.cookies(app)).filter((c) => c.name.startsWith('__Host-grv_app_session'));
    if (kept.length !== 2 || kept.some((c) => !c.httpOnly || !c.secure)) throw new Error(`cookies ${JSON.stringify(kept)}`);
  },
  async 'a file is uploaded'() {
    await page.setInputFiles('input[type=file].fileinput', { name: 'figures.csv', mimeType: 'text/csv', buffer: Buffer.from('a,b\n1,2\n'.repeat(50_000)) });
    await page.locator('button.upload_button:visible').click();
    await page.locator('.item_link', { hasText: 'figures.csv' }).waitFor();
  },
  async 'a WebSocket computes'() {
    const [opened] = await Promise.all([
      context.waitForEvent('page'),
      (async () => {
        await page.locator('#new-dropdown-button').click();
        await page.locator('#kernel-python3 a').click();
      })(),
    ]);
    await opened.waitForLoadState();
    await opened.locator('.kernel_idle_icon').first().waitFor();
    await opened.locator('.CodeMirror').first().click();
    await opened.locator('.CodeMirror-focused').first().waitFor();
    await opened.keyboard.type('print(6 * 7 * 1000)');
    await opened.keyboard.press('Shift+Enter');
    await opened.locator('.output_stdout', { hasText: '42000' }).waitFor();
    if (process.env.SHOTS) await opened.screenshot({ path: `${process.env.SHOTS}/app-notebook.png` });
    opened.on('dialog', (d) => void d.accept());
    await opened.close();
  },
  async 'the list of resources opens it'() {
    await page.goto(`${origin}/web/`);
    await page.getByRole('row').nth(1).waitFor();
    await shots('apps-list');
    await page.getByRole('button', { name: 'Open jupyter' }).click();
    await page.getByRole('menu').waitFor();
    await b.check('apps-menu');
    const [opened] = await Promise.all([context.waitForEvent('page'), page.locator('[data-launch]').click()]);
    await opened.waitForURL((u) => u.href.startsWith(`${app}/`));
    await opened.close();
  },
  async 'an app that is down says so'() {
    await page.goto(`${down}/`);
    await at(`${down}/`);
    await see('cannot be reached');
    await shots('app-down');
  },
  async 'what an app needs and cannot have is said first'() {
    await page.goto(`${lacks}/tree?of=files`);
    await see('lacks needs more than you can open');
    await see('nowhere');
    await shots('app-without');
    await page.getByRole('button', { name: 'Open without them' }).click();
    await at(`${lacks}/tree?of=files`);
    await page.locator('#notebook_list').waitFor();
  },
  async 'an address that is no app says so'() {
    await page.goto(`${origin}/web/launch/nothing.example`);
    await see('There is no app at nothing.example');
    await shots('app-missing');
  },
  async 'a hand-over that is not ours is refused'() {
    await page.goto(`${app}/x-teleport-auth/finish#state=${'0'.repeat(64)}_${'0'.repeat(32)}&session=${'0'.repeat(32)}.${'0'.repeat(32)}&path=/tree`);
    await see('The sign-in did not work');
    if (new URL(page.url()).hash) throw new Error('the fragment stays in the address bar');
    await shots('app-refused');
  },
  async 'log-out of the app, and of the cluster'() {
    await page.goto(`${app}/teleport-logout`);
    await at(`${origin}/web/`);
    if ((await context.cookies(app)).some((c) => c.name.startsWith('__Host-grv_app_session'))) throw new Error('cookies are left');
    await page.goto(`${app}/tree`); // signed in at the cluster still
    await at(`${app}/tree`);
    await page.goto(`${origin}/web/`);
    await page.getByRole('row').nth(1).waitFor();
    await page.getByRole('button', { name: /^Account of/ }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await at(`${origin}/web/bye`);
    await page.goto(`${app}/tree`);
    await at(`${origin}/web/login`);
  },
};

await b.walk(journeys);
