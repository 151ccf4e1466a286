// Signing in by an OpenID Connect provider, in Chromium, against PyPI's oidc-provider-mock.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import os from 'node:os';
import { after, before, describe, test } from 'node:test';
import { PASSWORD, click, code, fill, problemIs, setUp, shoot, shown, text, turnCodesOn } from './lib/accounts.mjs';
import { Appliance } from './lib/appliance.mjs';
import { chromium } from './lib/browsers.mjs';
import { PYTHON } from './lib/python.mjs';

class Provider {
  static async start() {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const self = new Provider();
    self.port = server.address().port;
    server.close();
    await once(server, 'close');
    self.issuer = `http://127.0.0.1:${self.port}`;
    await self.run();
    return self;
  }

  async run() {
    this.child = spawn(PYTHON, ['-m', 'oidc_provider_mock', '--require-nonce', '--port', String(this.port)], { stdio: 'ignore' });
    this.exited = once(this.child, 'exit');
    for (let tries = 0; tries < 200; tries++) {
      if (await fetch(this.issuer).then(() => true, () => false)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error('the provider does not start');
  }

  async user(subject, claims) {
    const answer = await fetch(`${this.issuer}/users/${subject}`, {
      method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(claims),
    });
    assert.equal(answer.status, 204);
  }

  async stop() {
    this.child.kill('SIGKILL');
    await this.exited;
  }
}

describe('signing in by a provider', { timeout: 180_000 }, () => {
  let appliance, provider, chrome;
  before(async () => {
    provider = await Provider.start();
    await provider.user('aoi', { email: 'aoi@example.org', email_verified: true, name: 'Aoi' });
    await provider.user('chiyo', { email: 'chiyo@example.org', email_verified: true, name: 'Chiyo' });
    await provider.user('eve', { email: 'eve@example.org', email_verified: false, name: 'Eve' });
    const secret = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'kaigi-e2e-')), 'secret');
    fs.writeFileSync(secret, 'a secret\n');
    appliance = await Appliance.start(
      ['--cores', '0', '--oidc-issuer', provider.issuer, '--oidc-client-id', 'kaigi', '--oidc-secret-file', secret,
        '--oidc-name', 'Example ID', '--oidc-domain', 'example.org', '--oidc-create'], { demo: false });
    chrome = await chromium();
  });
  after(async () => {
    await chrome?.close();
    await appliance?.stop();
    provider?.child.kill('SIGKILL');
  });

  /** Leaves by the button and signs in there. */
  async function signInThere(page, subject) {
    await shown(page, 'provider-link');
    await click(page, 'provider-link');
    await page.waitForSelector('input[name=sub]', { timeout: 20_000 });
    await page.fill('input[name=sub]', subject);
    await page.click('button:text("Authorize")');
  }

  test('somebody new, somebody with an account and a code, and what goes wrong', async () => {
    const admin = await chrome.page('about:blank');
    await setUp(appliance, admin);
    const key = await turnCodesOn(admin);
    await click(admin, 'sign-out-button');
    await shown(admin, 'create-form');

    // Her account, found by the address: the provider's word and her code.
    await admin.goto(`${appliance.url}/signin?next=/admin`);
    await shown(admin, 'provider-link');
    assert.match(await text(admin, 'provider-link'), /Example ID/);
    await shoot(admin, 'signin-provider');
    await signInThere(admin, 'aoi');
    await shown(admin, 'provider-code');
    await shoot(admin, 'signin-provider-code');
    await fill(admin, 'account-code', '000000');
    await click(admin, 'provider-code-button');
    await problemIs(admin, 'code');
    await fill(admin, 'account-code', code(key));
    await click(admin, 'provider-code-button');
    // Where she wanted to go, as who she is.
    await shown(admin, 'users');

    // Somebody new, in another browser.
    const other = await chromium();
    try {
      const page = await other.page(`${appliance.url}/signin?lang=ja`);
      await shown(page, 'provider-link');
      await shoot(page, 'signin-provider-ja');
      await signInThere(page, 'chiyo');
      await shown(page, 'totp-begin');
      assert.equal(await text(page, 'own-email'), 'chiyo@example.org');
      await click(page, 'sign-out-button');
      await shown(page, 'create-form');

      // The callback again, and one of somebody else's making.
      await page.goto(`${appliance.url}/signin/callback?code=x&state=y`);
      await problemIs(page, 'sign-in-expired');
      await shoot(page, 'signin-expired');
      await signInThere(page, 'eve');
      await problemIs(page, 'provider-address');

      // The provider is gone, and the server knows nothing of it any more: the page says so, and a password does all the same.
      await provider.stop();
      await appliance.crashAndRestart();
      await page.goto(`${appliance.url}/signin`);
      await shown(page, 'provider-link');
      await click(page, 'provider-link');
      await problemIs(page, 'provider-away');
      await shoot(page, 'signin-provider-away');
      await fill(page, 'account-email', 'aoi@example.org');
      await fill(page, 'account-password', PASSWORD);
      await click(page, 'sign-in-button');
      await shown(page, 'account-code');
    } finally {
      await other.close();
    }
    await admin.close();
  });
});
