// What a person does to get into the console of a cloud: choose a role in the list,
// and be there, behind a real cluster and a sign-in page that lets in who AWS would.
//
//   TELEPORT_URL=https://proxy:3080 TELEPORT_APP=https://aws.proxy:3080 TELEPORT_ROLES=ARN,ARN \
//   TELEPORT_BROKEN=ARN TELEPORT_FOREIGN=ARN TELEPORT_CONSOLE=http://… \
//   TELEPORT_USER=alice TELEPORT_PASSWORD=… TELEPORT_OTP_SECRET=… node web/e2e/console.mjs
//
// TELEPORT_ROLES are those that the person may be, TELEPORT_BROKEN one of them that
// AWS does not let the agent take, and TELEPORT_FOREIGN one of others. TELEPORT_CONSOLE
// is where AWS's sign-in is. TELEPORT_HOSTS and SHOTS are as for apps.mjs.
import { open } from './browser.mjs';
import { code, stepAt } from './totp.mjs';

const need = (name) => {
  const value = process.env[name];
  if (value) return value;
  console.error(`${name} is not set`);
  process.exit(2);
};
const origin = new URL(need('TELEPORT_URL')).origin;
const app = new URL(need('TELEPORT_APP'));
const roles = need('TELEPORT_ROLES').split(',');
const b = await open(origin, process.env.SHOTS, { args: [`--host-resolver-rules=${process.env.TELEPORT_HOSTS ?? ''}`], apps: [app.origin] });
const { page, context } = b;
const launcher = (as) => `${origin}/web/launch/${app.hostname}?as=${encodeURIComponent(as)}`;

async function menu() {
  await page.goto(`${origin}/web/`);
  await page.getByRole('row').nth(1).waitFor();
  await page.getByRole('button', { name: 'Open aws' }).click();
  await page.locator('[role=menu]:focus-within').waitFor(); // it gets the focus a moment after it is there, and with it the keys
}

const journeys = {
  async 'signs in'() {
    await page.goto(`${origin}/web/login`);
    await page.locator('input[name=username]').fill(need('TELEPORT_USER'));
    await page.locator('input[name=password]').fill(need('TELEPORT_PASSWORD'));
    await page.keyboard.press('Enter');
    // The cluster takes one step ahead of its clock; that of now may be used.
    await page.locator('input[name=otp]').fill(await code(need('TELEPORT_OTP_SECRET'), stepAt(Date.now()) + 1));
    await page.keyboard.press('Enter');
    await page.getByRole('row').nth(1).waitFor();
  },
  async 'the list offers the roles that the person may be, and no other'() {
    await menu();
    const offered = await page.locator('[data-launch]').evaluateAll((all) => all.map((e) => e.dataset.launch));
    const want = [...roles, need('TELEPORT_BROKEN')].sort().join();
    if (offered.sort().join() !== want) throw new Error(`it offers ${offered}, and not ${want}`);
    await b.check('console-roles');
    await page.keyboard.press('Escape');
  },
  async 'each role opens its own console'() {
    for (const role of roles) {
      await menu();
      const [opened] = await Promise.all([context.waitForEvent('page'), page.locator(`[data-launch="${role}"]`).click()]);
      await opened.waitForURL((u) => u.href.startsWith(need('TELEPORT_CONSOLE')));
      await opened.getByText(`console of ${role} as ${need('TELEPORT_USER')} at https://console.aws.amazon.com/`).waitFor();
      await opened.close();
    }
  },
  async 'a role of others is refused, and says so'() {
    await page.goto(launcher(need('TELEPORT_FOREIGN')));
    await page.getByText(/do not allow|aws_role_arns/).first().waitFor();
    await b.check('console-refused');
    if (!page.url().startsWith(origin)) throw new Error(`at ${page.url()}`);
  },
  async 'what is no role is refused'() {
    await page.goto(launcher('arn:aws:iam::1:user/x y'));
    await page.getByText(/do not allow|aws_role_arns|no AWS role|choose/i).first().waitFor();
    if (!page.url().startsWith(origin)) throw new Error(`at ${page.url()}`);
  },
  async 'a role that AWS does not let the agent take says so'() {
    await page.goto(launcher(need('TELEPORT_BROKEN')));
    await page.waitForURL((u) => u.href.startsWith(app.origin));
    await page.getByText(/does not let|not let this agent|sts:AssumeRole/).first().waitFor();
    await b.check('console-broken');
  },
};

await b.walk(journeys);
