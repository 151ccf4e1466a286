// A program gets access in a real browser: registered by an admin in the page, allowed by somebody with an authenticator app, and
// taken back in the account.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { PASSWORD, click, code, fill, problemIs, setUp, shoot, shown, text, turnCodesOn } from './lib/accounts.mjs';
import { Appliance } from './lib/appliance.mjs';
import { chromium, until } from './lib/browsers.mjs';

describe('a program that asks for access', { timeout: 180_000 }, () => {
  let appliance, chrome;
  before(async () => {
    appliance = await Appliance.start(['--cores', '0'], { demo: false });
    chrome = await chromium();
  });
  after(async () => {
    await chrome?.close();
    await appliance?.stop();
  });

  const token = (form) =>
    fetch(`${appliance.url}/oauth/token`, { method: 'POST', body: new URLSearchParams(form) }).then(async (answer) => ({
      status: answer.status, body: await answer.json(),
    }));
  const meetings = (access) =>
    fetch(`${appliance.url}/api/v1/meetings`, { headers: { authorization: `Bearer ${access}` } }).then((answer) => answer.status);

  test('is registered, allowed with a code, refreshed, seen and taken back', async () => {
    const admin = await chrome.page('about:blank');
    await setUp(appliance, admin);
    const redirect = `${appliance.url}/callback`;

    // The admin registers two programs; the one with a secret shows it once.
    await admin.goto(`${appliance.url}/admin`);
    await shown(admin, 'client-form');
    await fill(admin, 'client-name', 'Bad');
    await fill(admin, 'client-redirect', 'http://elsewhere.example/callback');
    await click(admin, 'client-form-button');
    await problemIs(admin, 'invalid');
    await fill(admin, 'client-name', 'Calendar');
    await fill(admin, 'client-redirect', redirect);
    await click(admin, 'client-form-button');
    await shown(admin, 'client-made');
    const client = await text(admin, 'client-id');
    assert.match(client, /^client_\d+$/);
    assert.equal(await text(admin, 'client-secret'), undefined);
    await fill(admin, 'client-name', 'Server');
    await fill(admin, 'client-redirect', redirect);
    await admin.check('[data-testid=client-confidential]');
    await click(admin, 'client-form-button');
    await shown(admin, 'client-secret');
    assert.equal((await text(admin, 'client-secret')).length, 43);
    await shoot(admin, 'admin-clients');
    await admin.reload();
    await shown(admin, 'client');
    assert.equal(await text(admin, 'client-secret'), undefined);

    // Somebody with an authenticator app is led through signing in to the question.
    await admin.goto(`${appliance.url}/account`);
    await shown(admin, 'programs');
    const key = await turnCodesOn(admin);
    await click(admin, 'sign-out-button');
    await shown(admin, 'create-form');
    const verifier = randomBytes(32).toString('base64url');
    const asked = new URLSearchParams({
      response_type: 'code', client_id: client, redirect_uri: redirect, state: 'a state', scope: 'meetings',
      code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
    });
    await admin.goto(`${appliance.url}/oauth/authorize?${asked}`);
    await shown(admin, 'sign-in');
    await fill(admin, 'account-email', 'aoi@example.org');
    await fill(admin, 'account-password', PASSWORD);
    await click(admin, 'sign-in-button');
    await shown(admin, 'account-code');
    await fill(admin, 'account-code', '000000');
    await click(admin, 'sign-in-button');
    await problemIs(admin, 'code');
    await fill(admin, 'account-code', code(key));
    await click(admin, 'sign-in-button');
    await shown(admin, 'allow-button');
    const landed = admin.waitForURL(/\/callback\?/, { timeout: 20_000 });
    await click(admin, 'allow-button');
    await landed;
    const got = new URL(admin.url()).searchParams;
    assert.equal(got.get('state'), 'a state');

    // The program: code and verifier, a call, the next token; another verifier gets nothing.
    const redeem = { grant_type: 'authorization_code', client_id: client, redirect_uri: redirect, code: got.get('code') };
    assert.equal((await token({ ...redeem, code_verifier: 'x'.repeat(43) })).body.error, 'invalid_grant');
    const first = await token({ ...redeem, code_verifier: verifier });
    assert.equal(first.status, 200, JSON.stringify(first.body));
    assert.equal(await meetings(first.body.access_token), 200);
    const second = await token({ grant_type: 'refresh_token', client_id: client, refresh_token: first.body.refresh_token });
    assert.equal(second.status, 200, JSON.stringify(second.body));
    assert.equal(await meetings(second.body.access_token), 200);

    // The person sees it, and takes it back.
    await admin.goto(`${appliance.url}/account`);
    await shown(admin, 'program');
    assert.equal(await admin.evaluate(() => document.querySelector('[data-testid=program]').dataset.name), 'Calendar');
    await shoot(admin, 'account-programs');
    await click(admin, 'revoke-program-button');
    await until(admin, 'the program to be gone', () => document.querySelector('[data-testid=program]') === null);
    const third = await token({ grant_type: 'refresh_token', client_id: client, refresh_token: second.body.refresh_token });
    assert.deepEqual([third.status, third.body.error], [400, 'invalid_grant']);

    // The admin deletes the program; the log has all of it, the wrong code too.
    await admin.goto(`${appliance.url}/admin?lang=ja`);
    await shown(admin, 'audit');
    await shoot(admin, 'admin-clients-ja');
    await admin.click('[data-testid=client][data-name=Calendar] [data-testid=delete-client-button]');
    await until(admin, 'it to be gone', () => document.querySelector('[data-testid=client][data-name=Calendar]') === null);
    const lines = await admin.evaluate(() => fetch('/api/v1/audit?limit=100').then((answer) => answer.json()));
    const actions = lines.items.map((line) => line.action);
    for (const action of ['create_oauth_client', 'authorize', 'revoke_program', 'delete_oauth_client', 'fail_sign_in'])
      assert.ok(actions.includes(action), `${action} in ${actions}`);
    await admin.close();
  });

  test('an admin resets the codes of somebody who lost the telephone', async () => {
    const admin = await chrome.page(`${appliance.url}/admin`);
    await shown(admin, 'users');
    await fill(admin, 'invite-name', 'Botan');
    await fill(admin, 'invite-email', 'botan@example.org');
    await click(admin, 'invite-button');
    await shown(admin, 'invitation');
    const link = await admin.evaluate(() => document.querySelector('[data-testid=join-link]').value);
    const other = await chromium();
    try {
      const page = await other.page(link);
      await shown(page, 'first-password');
      await fill(page, 'account-password', PASSWORD);
      await click(page, 'first-password-button');
      await shown(page, 'totp-begin');
      await turnCodesOn(page);
      await click(page, 'sign-out-button');
      await shown(page, 'create-form');
      await admin.reload();
      await shown(admin, 'users');
      await shown(admin, 'reset-totp-button');
      await shoot(admin, 'admin-reset');
      await click(admin, 'reset-totp-button');
      await until(admin, 'the codes to be gone', () => document.querySelector('[data-testid=reset-totp-button]') === null);
      await page.goto(`${appliance.url}/signin`);
      await shown(page, 'sign-in');
      await fill(page, 'account-email', 'botan@example.org');
      await fill(page, 'account-password', PASSWORD);
      await click(page, 'sign-in-button');
      await shown(page, 'totp-begin');
    } finally {
      await other.close();
    }
    await admin.close();
  });
});
