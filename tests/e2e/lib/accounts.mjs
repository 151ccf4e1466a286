// What the tests of account pages share: forms, problems, pictures, and an authenticator app.
import { createHmac } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { until } from './browsers.mjs';

export const PASSWORD = 'a long enough password';

// With KAIGI_SCREENSHOTS=DIR every page is also kept as a picture, to be looked at.
const shots = process.env.KAIGI_SCREENSHOTS;
export const shoot = async (page, name) => {
  if (!shots) return;
  fs.mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
};

// Over the pages' own navigations, which a poll inside a page does not outlive.
export const shown = (page, testId) => page.waitForSelector(`[data-testid=${testId}]`, { timeout: 20_000 });
export const fill = (page, testId, text) => page.fill(`[data-testid=${testId}]`, text);
export const click = (page, testId) => page.click(`[data-testid=${testId}]`);
export const text = (page, testId) =>
  page.evaluate((testId) => document.querySelector(`[data-testid=${testId}]`)?.textContent, testId);
export const problemIs = (page, problem) =>
  until(page, `the problem ${problem}`, (problem) => document.querySelector('[data-testid=error-banner]')?.dataset.problem === problem, problem);

/** The code of RFC 6238 for a base-32 key, `steps` of 30 s from now. */
export function code(key, steps = 0) {
  const bits = [...key.replace(/\s/g, '')].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
  const secret = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const mac = createHmac('sha1', secret).update(counter).digest();
  const number = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

/** Makes the first account by the link the appliance printed; leaves the page at the account. */
export async function setUp(appliance, page, name = 'Aoi') {
  await until({ evaluate: (fn) => fn(), consoleLog: [] }, 'the set-up link', () => /\/setup#\S+/.test(appliance.log));
  await page.goto(appliance.url + /(\/setup#\S+)/.exec(appliance.log)[1]);
  await shown(page, 'first-password');
  await fill(page, 'account-name', name);
  await fill(page, 'account-email', `${name.toLowerCase()}@example.org`);
  await fill(page, 'account-password', PASSWORD);
  await click(page, 'first-password-button');
  await shown(page, 'totp-begin');
}

/** Sets up an authenticator app on the account page; its key. Uses the code of the step before this one. */
export async function turnCodesOn(page) {
  await click(page, 'totp-begin-button');
  await shown(page, 'totp-qr');
  const key = await text(page, 'totp-key');
  await fill(page, 'totp-code', code(key, -1));
  await click(page, 'totp-verify-button');
  await shown(page, 'recovery-codes');
  return key;
}
