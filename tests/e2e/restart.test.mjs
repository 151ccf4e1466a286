// kill -9 of the server: the meeting is still there and clients come back by themselves.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Appliance } from './lib/appliance.mjs';
import { chromium, until } from './lib/browsers.mjs';
import { rates, receivesFrom } from './lib/media.mjs';
import { noiseDevices } from './lib/noise.mjs';

const ROUNDS = Number(process.env.KAIGI_RESTART_ROUNDS ?? 2);

describe('after kill -9 of the server', { timeout: 120_000 + ROUNDS * 40_000 }, () => {
  let appliance, chrome;
  before(async () => {
    appliance = await Appliance.start();
    chrome = await chromium();
  });
  after(async () => {
    await chrome?.close();
    await appliance?.stop();
  });

  test(`clients reconnect by themselves, ${ROUNDS} times`, async () => {
    const meeting = await appliance.createMeeting();
    const open = (name) => chrome.page(`${appliance.url}${meeting.path}?${new URLSearchParams({ name, autojoin: '1', capture: '320x180@15' })}`, [noiseDevices({ width: 320, height: 180 })]);
    const pages = [await open('Aoi'), await open('Botan')];
    for (const page of pages) await receivesFrom(page, 1);
    for (let round = 1; round <= ROUNDS; round++) {
      await appliance.crashAndRestart();
      const start = Date.now();
      // The new process knows nobody until they come back; what the pages say of themselves may be from before.
      const deadline = Date.now() + 40_000;
      while ((await appliance.metrics()).get('kaigi_participants') !== 2) {
        assert.ok(Date.now() < deadline, 'both people are back within 40 s');
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      for (const page of pages) {
        await until(page, 'the room to be connected again', () => document.querySelector('[data-testid=app]')?.dataset.state === 'connected'
          && window.__kaigi.room.state === 'connected' && window.__kaigi.room.remoteParticipants.size === 1, undefined, 30_000);
        await receivesFrom(page, 1);
      }
      console.log(`round ${round}: picture and sound are back ${Date.now() - start} ms after the restart`);
      for (const page of pages) {
        const [one] = Object.values(await rates(page, 2000));
        assert.ok(one.fps > 5 && one.energy > 0, `${one.name} is seen (${one.fps.toFixed(1)} fps) and heard again`);
      }
      const read = await appliance.api('GET', `/meetings/${meeting.id}`, undefined, meeting.host_token);
      assert.equal(read.id, meeting.id);
      assert.equal(read.status, 'in_progress');
    }
  });
});
