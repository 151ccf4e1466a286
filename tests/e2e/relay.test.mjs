// The bad network itself: everything a page sends and receives goes through it, in both browsers.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { until } from './lib/browsers.mjs';
import { rates, receivesFrom } from './lib/media.mjs';
import { noiseDevices } from './lib/noise.mjs';
import { routeThrough } from './lib/relay.mjs';
import { stage } from './lib/stage.mjs';
import { sleep } from './lib/streams.mjs';

/** Remote ports of the chosen pairs of all connections. */
const chosenPortsInPage = async () => {
  const { publisher, subscriber } = window.__kaigi.room.engine.pcManager;
  const ports = [];
  for (const transport of [publisher, subscriber].filter(Boolean)) {
    const stats = [...(await transport.getStats()).values()];
    const pair = stats.find((stat) => stat.type === 'candidate-pair' && stat.state === 'succeeded' && stat.nominated);
    ports.push(stats.find((stat) => stat.id === pair?.remoteCandidateId)?.port);
  }
  return ports;
};

describe('the impairment relay', { timeout: 120_000 }, () => {
  const on = stage({ relay: true, fox: true });

  test('carries all media of Chromium and of Firefox, and none when it loses all', async () => {
    const meeting = await on.appliance.createMeeting();
    const accesses = {}, pages = {};
    for (const [name, browser] of [['Aoi', on.chrome], ['Fuji', on.fox]]) {
      accesses[name] = await on.relay.access(on.appliance, name);
      pages[name] = await on.join({ browser, meeting, name, scripts: [routeThrough(accesses[name]), noiseDevices({ width: 320, height: 180 })] });
    }
    for (const [name, page] of Object.entries(pages)) {
      await receivesFrom(page, 1);
      const relayPort = Number(accesses[name].address.split(':')[1]);
      assert.deepEqual(await page.evaluate(chosenPortsInPage), [relayPort], name);
      await sleep(2000);
      const counts = await accesses[name].counts();
      console.log(`${name}: ${counts.up.delivered} datagrams up, ${counts.down.delivered} down, from ${counts.upstream.length} sockets`);
      assert.ok(counts.up.delivered > 50 && counts.down.delivered > 50, JSON.stringify(counts));
      assert.equal(counts.up.refused + counts.down.refused, 0);
    }
    await accesses.Aoi.set({ down: { lossPercent: 100 } });
    const [cut] = Object.values(await rates(pages.Aoi, 2000));
    assert.equal(cut.audioPackets, 0, 'nothing comes past the relay');
    await accesses.Aoi.set({ down: {} });
    await until(pages.Aoi, 'media again', async (before) => {
      const [one] = window.__kaigi.room.remoteParticipants.values();
      const [audio] = [...one.trackPublications.values()].filter((publication) => publication.kind === 'audio');
      return [...(await audio.track.receiver.getStats()).values()].some((stat) => stat.type === 'inbound-rtp' && stat.packetsReceived > before);
    }, 0);
    const [again] = Object.values(await rates(pages.Aoi, 2000));
    assert.ok(again.audioPackets > 50, `${again.audioPackets} audio packets in two seconds`);
    await Promise.all(Object.values(pages).map((page) => page.close()));
  });

  test('limits a rate, and a new address behind it is followed', async () => {
    const meeting = await on.appliance.createMeeting();
    const access = await on.relay.access(on.appliance, 'Botan');
    const scripts = [noiseDevices()];
    const sender = await on.join({ meeting, name: 'Aoi', scripts, capture: { width: 640, height: 360, frameRate: 15 } });
    const receiver = await on.join({ meeting, name: 'Botan', audio: false, video: false, scripts: [routeThrough(access)] });
    await receivesFrom(receiver, 1);
    await access.set({ down: { rateKbps: 100, delayMs: 20 } });
    await access.rates(1000);
    const limited = await access.rates(3000);
    console.log(`limited to 100 kbit/s: ${Math.round(limited.down.offered / 1000)} offered, ${Math.round(limited.down.delivered / 1000)} delivered`);
    assert.ok(limited.down.delivered < 105_000, `${limited.down.delivered} bit/s through 100 kbit/s`);
    await access.set({ down: {} });
    const before = await access.counts();
    await access.rebind();
    const moved = await access.counts();
    assert.equal(moved.upstream.length, before.upstream.length);
    assert.ok(moved.upstream.every((address) => !before.upstream.includes(address)), 'other addresses');
    // The next packets and checks come from the new address; the appliance answers there. Sound is heard again with the first of
    // them; the picture also has the narrow link behind it, whose estimate grows first.
    const came = { audio: null, picture: null };
    for (let second = 1; second <= 30 && (came.audio === null || came.picture === null); second += 1) {
      const [one] = Object.values(await rates(receiver, 1000));
      if (one.audioPackets > 25) came.audio ??= second;
      if (one.fps > 5) came.picture ??= second;
    }
    console.log(`after a rebind: sound in second ${came.audio}, more than 5 fps in second ${came.picture}`);
    assert.ok(came.audio !== null && came.audio <= 10, `sound goes on at the new address: ${JSON.stringify(came)}`);
    assert.ok(came.picture !== null, `the picture goes on at the new address: ${JSON.stringify(came)}`);
    await Promise.all([sender.close(), receiver.close()]);
  });
});
