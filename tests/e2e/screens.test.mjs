// Shared screens: with their sound, several at once, and first in line when a link is narrow.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { until } from './lib/browsers.mjs';
import { noiseDevices } from './lib/noise.mjs';
import { routeThrough } from './lib/relay.mjs';
import { stage } from './lib/stage.mjs';
import { between, inbound, sleep, untilInbound } from './lib/streams.mjs';

describe('shared screens', { timeout: 180_000 }, () => {
  const on = stage({ relay: true });

  test('three at once, of the browser and of a canvas, with sound', async () => {
    const meeting = await on.appliance.createMeeting();
    const join = (name, scripts = []) => on.join({ meeting, name, audio: false, video: false, scripts });
    const [aoi, botan, chie] = [await join('Aoi'), await join('Botan', [noiseDevices()]), await join('Chie', [noiseDevices()])];
    // What the browser itself captures: here a synthetic monitor.
    const shared = await aoi.evaluate(async () => {
      await window.__kaigi.room.localParticipant.setScreenShareEnabled(true, { audio: true });
      return [...window.__kaigi.room.localParticipant.trackPublications.values()].map((one) => one.source);
    });
    console.log(`the browser shares ${shared.join(' and ')}`);
    assert.ok(shared.includes('screen_share'));
    for (const page of [botan, chie]) await page.evaluate(() => window.shareCanvas({ width: 640, height: 360, frameRate: 5, bitrate: 400_000, audio: true }));
    const viewer = await join('Viewer');
    for (const from of ['Aoi', 'Botan', 'Chie']) {
      const screen = await untilInbound(viewer, `the screen of ${from}`, 'video', (one) => one.frames > 3, { from, source: 'screen_share' });
      console.log(`${from}: ${screen.width}x${screen.height} ${screen.codec}`);
      if (from === 'Aoi' && !shared.includes('screen_share_audio')) continue;
      await untilInbound(viewer, `the sound of ${from}`, 'audio', (one) => one.energy > 0 || one.packets > 20, { from, source: 'screen_share_audio' });
    }
    await botan.evaluate(() => {
      const { localParticipant } = window.__kaigi.room;
      return Promise.all([...localParticipant.trackPublications.values()].map((one) => localParticipant.unpublishTrack(one.track)));
    });
    await until(viewer, 'one screen to end', () => [...window.__kaigi.room.remoteParticipants.values()].find((one) => one.name === 'Botan').trackPublications.size === 0);
    const before = await inbound(viewer, 'video', { from: 'Chie' });
    await sleep(2000);
    const after = await inbound(viewer, 'video', { from: 'Chie' });
    assert.ok(after.frames > before.frames, 'and the others to go on');
    await Promise.all([aoi, botan, chie, viewer].map((page) => page.close()));
  });

  test('on a narrow link the screen stays sharp and the camera gives way', async () => {
    const meeting = await on.appliance.createMeeting();
    const access = await on.relay.access(on.appliance, 'narrow');
    const sender = await on.join({
      meeting, name: 'Sender', scripts: [noiseDevices()], capture: { width: 640, height: 360, frameRate: 15 },
      roomOptions: { publishDefaults: { degradationPreference: 'maintain-resolution' } },
    });
    const viewer = await on.join({ meeting, name: 'Viewer', audio: false, video: false, scripts: [routeThrough(access)] });
    await sender.evaluate(() => window.shareCanvas({ width: 960, height: 540, frameRate: 5, bitrate: 400_000 }));
    const screen = { source: 'screen_share' }, camera = { source: 'camera' };
    await untilInbound(viewer, 'the screen', 'video', (one) => one.width === 960 && one.frames > 5, { ...screen, timeoutMs: 30_000 });
    await untilInbound(viewer, 'the camera', 'video', (one) => one.width === 640 && one.fps > 5, { ...camera, timeoutMs: 45_000 });
    // Screen, sound and the smallest camera layer are 660 kbit/s; the next camera layer takes 300 more.
    await access.set({ down: { rateKbps: 1000, delayMs: 20 } });
    await sleep(6000);
    const before = { screen: await inbound(viewer, 'video', screen), camera: await inbound(viewer, 'video', camera) };
    await sleep(6000);
    const [one, other] = [between(before.screen, await inbound(viewer, 'video', screen), 6), between(before.camera, await inbound(viewer, 'video', camera), 6)];
    console.log(`1000 kbit/s: screen ${one.width} wide, ${one.fps.toFixed(1)} fps, ${Math.round(one.bps / 1000)} kbit/s; camera ${other.width} wide, ${other.fps.toFixed(1)} fps, ${Math.round(other.bps / 1000)} kbit/s`);
    assert.equal(one.width, 960, 'the screen keeps its resolution');
    assert.ok(one.fps > 1, `the screen goes on: ${one.fps} fps`);
    assert.ok(other.width < 640 || other.fps < 10, 'the camera gives way');
    await Promise.all([sender.close(), viewer.close()]);
  });
});
