// Accounts as people use them: the first one by the printed link, an authenticator app, an invitation.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { PASSWORD, click, code, fill, problemIs, shoot, shown } from './lib/accounts.mjs';
import { Appliance } from './lib/appliance.mjs';
import { chromium, until } from './lib/browsers.mjs';

describe('accounts', { timeout: 180_000 }, () => {
  let appliance, chrome;
  before(async () => {
    appliance = await Appliance.start(['--cores', '0'], { demo: false });
    chrome = await chromium();
  });
  after(async () => {
    await chrome?.close();
    await appliance?.stop();
  });

  test('the first admin sets up, takes an authenticator app, signs in with a code and invites somebody', async () => {
    await until({ evaluate: (fn) => fn(), consoleLog: [] }, 'the set-up link', () => /\/setup#\S+/.test(appliance.log));
    const setup = /(\/setup#\S+)/.exec(appliance.log)[1];
    const page = await chrome.page(appliance.url + setup);
    await shown(page, 'first-password');
    await fill(page, 'account-name', 'Aoi');
    await fill(page, 'account-email', 'aoi@example.org');
    await fill(page, 'account-password', 'short');
    await click(page, 'first-password-button');
    await problemIs(page, 'invalid');
    await shoot(page, 'setup');
    await fill(page, 'account-password', PASSWORD);
    await click(page, 'first-password-button');
    await shown(page, 'totp-begin');

    await click(page, 'totp-begin-button');
    await shown(page, 'totp-qr');
    await shoot(page, 'totp');
    const key = await page.evaluate(() => document.querySelector('[data-testid=totp-key]').textContent);
    assert.match(key, /^([A-Z2-7]{4} ){7}[A-Z2-7]{4}$/);
    await fill(page, 'totp-code', '000000');
    await click(page, 'totp-verify-button');
    await problemIs(page, 'code');
    await fill(page, 'totp-code', code(key, -1));
    await click(page, 'totp-verify-button');
    await shown(page, 'recovery-codes');
    assert.equal(await page.evaluate(() => document.querySelectorAll('[data-testid=recovery-codes] li').length), 10);
    await until(page, 'codes to be on', () => document.querySelector('[data-testid=totp-card]').dataset.enabled === 'yes');
    await shoot(page, 'account');

    await click(page, 'sign-out-button');
    await shown(page, 'create-form');
    await click(page, 'create-button');
    await problemIs(page, 'account-needed');
    await click(page, 'signin-link');
    await shown(page, 'sign-in');
    await fill(page, 'account-email', 'aoi@example.org');
    await fill(page, 'account-password', 'not the right password');
    await click(page, 'sign-in-button');
    await problemIs(page, 'credentials');
    await fill(page, 'account-password', PASSWORD);
    await click(page, 'sign-in-button');
    await shown(page, 'account-code');
    await shoot(page, 'signin-code');
    await fill(page, 'account-code', code(key));
    await click(page, 'sign-in-button');
    // Back where signing in was asked for, now with an account that may create meetings.
    await shown(page, 'create-form');
    await click(page, 'create-button');
    await until(page, 'the door', () => document.querySelector('[data-testid=app]').dataset.state === 'prejoin');

    await page.goto(`${appliance.url}/admin`);
    await shown(page, 'users');
    await fill(page, 'invite-name', 'Botan');
    await fill(page, 'invite-email', 'botan@example.org');
    await click(page, 'invite-button');
    await shown(page, 'invitation');
    await until(page, 'the new account', () => document.querySelector('[data-testid=user][data-name=Botan]') !== null);
    await shoot(page, 'admin');
    const link = await page.evaluate(() => document.querySelector('[data-testid=join-link]').value);

    // A key for a server of hers, its secret shown once.
    await page.goto(`${appliance.url}/account`);
    await shown(page, 'api-key-name');
    await fill(page, 'api-key-name', 'Our site');
    await click(page, 'api-key-button');
    await shown(page, 'api-key-secret');
    assert.equal(await page.evaluate(() => document.querySelector('[data-testid=api-key-secret]').textContent.length), 43);
    await shoot(page, 'api-key');
    await page.reload();
    await shown(page, 'delete-key-button');
    assert.equal(await page.evaluate(() => document.querySelector('[data-testid=api-key-secret]')), null);
    await click(page, 'delete-key-button');
    await until(page, 'the key to be gone', () => document.querySelector('[data-testid=delete-key-button]') === null);

    // A program asks for access; allowed, its redirect URI gets a code.
    const { client_id } = await page.evaluate((redirect) =>
      fetch('/api/v1/oauth-clients', {
        method: 'POST', headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name: 'Calendar', redirect_uris: [redirect] }),
      }).then((answer) => answer.json()), `${appliance.url}/callback`);
    const asked = new URLSearchParams({
      response_type: 'code', client_id, redirect_uri: `${appliance.url}/callback`, state: 'x',
      code_challenge: createHash('sha256').update('v'.repeat(43)).digest('base64url'), code_challenge_method: 'S256',
    });
    await page.goto(`${appliance.url}/oauth/authorize?${asked}`);
    await shown(page, 'allow-button');
    await shoot(page, 'consent');
    const landed = page.waitForURL(/\/callback\?/, { timeout: 20_000 });
    await click(page, 'allow-button');
    await landed;
    const got = new URL(page.url()).searchParams;
    assert.ok(got.get('code')?.length === 43 && got.get('state') === 'x', page.url());

    const other = await chromium();
    try {
      const guest = await other.page(`${link.replace('/invitation', '/invitation?lang=ja')}`);
      await shown(guest, 'first-password');
      assert.equal(await guest.evaluate(() => document.documentElement.lang), 'ja');
      await fill(guest, 'account-password', PASSWORD);
      await click(guest, 'first-password-button');
      await shown(guest, 'totp-begin');
      assert.equal(await guest.evaluate(() => document.querySelector('[data-testid=own-email]').textContent), 'botan@example.org');
      await guest.goto(`${appliance.url}/admin`);
      await problemIs(guest, 'not-admin');
      // The link worked once.
      await guest.goto('about:blank');
      await guest.goto(link);
      await shown(guest, 'first-password');
      await fill(guest, 'account-password', PASSWORD);
      await click(guest, 'first-password-button');
      await problemIs(guest, 'link-dead');
    } finally {
      await other.close();
    }
    await page.close();
  });
});
