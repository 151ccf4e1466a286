// What people see when things are not as they should be, and how soon they see anything at all.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Appliance } from './lib/appliance.mjs';
import { chromium, until } from './lib/browsers.mjs';
import { receivesFrom } from './lib/media.mjs';

// With KAIGI_SCREENSHOTS=DIR every state is also kept as a picture, to be looked at.
const shots = process.env.KAIGI_SCREENSHOTS;
const shoot = async (page, name) => {
  if (!shots) return;
  fs.mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: path.join(shots, `${name}.png`) });
};

const stateIs = (page, state) =>
  until(page, `state ${state}`, (state) => document.querySelector('[data-testid=app]')?.dataset.state === state, state);
const problemIs = (page, place, problem) =>
  until(page, `${place} with ${problem}`, ({ place, problem }) =>
    document.querySelector(`[data-testid=${place}]`)?.dataset.problem === problem && document.querySelector(`[data-testid=${place}]`).innerText.trim().length > 20,
    { place, problem });

describe('the page', { timeout: 180_000 }, () => {
  let appliance, chrome;
  before(async () => {
    appliance = await Appliance.start();
    chrome = await chromium();
  });
  after(async () => {
    await chrome?.close();
    await appliance?.stop();
  });

  test('a newcomer creates a meeting and walks in by clicks alone', async () => {
    const page = await chrome.page(`${appliance.url}/`);
    await stateIs(page, 'idle');
    await shoot(page, 'start');
    await page.fill('[data-testid=name-input]', 'Aoi');
    await page.fill('[data-testid=topic-input]', 'Planning');
    await page.click('[data-testid=create-button]');
    await stateIs(page, 'prejoin');
    assert.match(new URL(page.url()).pathname, /^\/j\/\d+$/);
    await until(page, 'the camera preview', () => document.querySelector('[data-testid=preview]')?.dataset.camera === 'on');
    await shoot(page, 'door');
    await page.click('[data-testid=join-button]');
    await stateIs(page, 'connected');
    const link = page.url().split('?')[0];
    const guest = await chrome.page(`${link}?name=Botan&autojoin=1&capture=320x180@15`);
    await receivesFrom(guest, 1);
    await receivesFrom(page, 1);
    await shoot(page, 'meeting');
    await guest.close();
    await page.close();
  });

  test('an unknown meeting, an ended meeting and a wrong link say so', async () => {
    const meeting = await appliance.createMeeting();
    await appliance.api('POST', `/meetings/${meeting.id}/end`, undefined, meeting.host_token);
    for (const [where, problem] of [['/j/123456789', 'meeting-unknown'], [meeting.path, 'meeting-ended']]) {
      const page = await chrome.page(`${appliance.url}${where}?name=Aoi&autojoin=1`);
      await problemIs(page, 'error-banner', problem);
      await shoot(page, problem);
      await page.close();
    }
  });

  test('a refused camera is explained and does not keep anybody out', async () => {
    const refusing = await chromium(['--deny-permission-prompts'], { permissions: [], fakePermission: false });
    try {
      const meeting = await appliance.createMeeting();
      const page = await refusing.page(`${appliance.url}${meeting.path}?name=Aoi`);
      await problemIs(page, 'device-fault', 'camera-refused');
      await shoot(page, 'camera-refused');
      await page.click('[data-testid=join-button]');
      await stateIs(page, 'connected');
    } finally {
      await refusing.close();
    }
  });

  test('the server going away is said at once, and the meeting comes back with it', async () => {
    const meeting = await appliance.createMeeting();
    const page = await chrome.page(`${appliance.url}${meeting.path}?name=Aoi&autojoin=1&capture=320x180@15`);
    await stateIs(page, 'connected');
    appliance.child.kill('SIGKILL');
    await appliance.exited;
    await until(page, 'the reconnecting banner', () => document.querySelector('[data-testid=reconnecting-banner], [data-testid=disconnected-page]'), undefined, 40_000);
    await shoot(page, 'reconnecting');
    await appliance.spawn();
    await stateIs(page, 'connected');
    await page.close();
  });

  test('the start page is light and cached as promised', async () => {
    const html = await fetch(`${appliance.url}/`, { headers: { 'accept-encoding': 'br' } });
    assert.equal(html.headers.get('cache-control'), 'no-cache');
    const page = await chrome.page(`${appliance.url}/`);
    const asset = await page.evaluate(() => performance.getEntriesByType('resource').map((one) => one.name).find((name) => name.endsWith('.js')));
    const answer = await fetch(asset, { headers: { 'accept-encoding': 'br' } });
    assert.match(answer.headers.get('cache-control'), /immutable/);
    assert.equal(answer.headers.get('content-encoding'), 'br');
    const bytes = await page.evaluate(() => performance.getEntriesByType('resource').reduce((sum, one) => sum + one.encodedBodySize, 0));
    const [paint] = await until(page, 'the first paint', () => {
      const entries = performance.getEntriesByName('first-contentful-paint').map((entry) => entry.startTime);
      return entries.length ? entries : null;
    });
    console.log(`start page: ${bytes} bytes, first contentful paint ${Math.round(paint)} ms`);
    assert.ok(bytes > 10_000 && bytes < 400_000, `${bytes} bytes`);
    assert.ok(paint < 1800, `first contentful paint ${paint} ms`);
    await page.close();
  });
});
