// The unmodified npm livekit-client on a bare page: our protocol is theirs.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Appliance } from './lib/appliance.mjs';
import { chromium, firefox, until } from './lib/browsers.mjs';
import { receivesFrom, settledRates, transportsInPage } from './lib/media.mjs';
import { serveBarePage } from './lib/serve.mjs';

let appliance, bare, chrome, fox;

/** Opens a bare page in a browser and joins the meeting with the SDK. */
async function join(browser, meeting, name, options = {}) {
  const { media_server_url: url, session_token: token } = await appliance.join(meeting, name);
  const page = await browser.page(bare.url);
  const state = await page.evaluate((given) => window.connect(given), { url, token, ...options });
  assert.equal(state, 'connected');
  return page;
}

describe('the unmodified livekit-client', { timeout: 240_000 }, () => {
  before(async () => {
    appliance = await Appliance.start();
    [bare, chrome, fox] = await Promise.all([serveBarePage(), chromium(), firefox()]);
  });
  after(async () => {
    await Promise.allSettled([chrome?.close(), fox?.close()]);
    bare?.close();
    await appliance?.stop();
  });

  test('Chromium and Firefox, an audio-only participant and a viewer meet', async () => {
    const meeting = await appliance.createMeeting();
    const alice = await join(chrome, meeting, 'Alice');
    const bob = await join(chrome, meeting, 'Bob');
    const fuji = await join(fox, meeting, 'Fuji');
    const voice = await join(chrome, meeting, 'Voice', { video: false });
    const viewer = await join(chrome, meeting, 'Viewer', { audio: false, video: false });
    const all = { alice, bob, fuji, voice, viewer };
    for (const [name, page] of Object.entries(all)) {
      await until(page, `${name} to know everybody`, () => window.__kaigi.room.remoteParticipants.size === 4);
      await until(page, `${name} to hold every track`, (expected) => [...window.__kaigi.room.remoteParticipants.values()]
        .flatMap((one) => [...one.trackPublications.values()].filter((publication) => publication.isSubscribed)).length === expected,
        { alice: 5, bob: 5, fuji: 5, voice: 6, viewer: 7 }[name]);
    }
    for (const [name, page] of Object.entries(all)) {
      await settledRates(page, (seen) => Object.values(seen).flatMap((one) => {
        const sendsVideo = ['Alice', 'Bob', 'Fuji'].includes(one.name);
        const sendsAudio = one.name !== 'Viewer';
        return [
          ...((sendsVideo ? one.fps > 10 : one.fps === 0) ? [] : [`${name} decodes ${one.fps.toFixed(1)} fps from ${one.name}`]),
          ...((sendsAudio ? one.energy > 0 : one.audioPackets === 0) ? [] : [`${name} hears ${one.energy} from ${one.name}`]),
        ];
      }));
    }
    console.log('connect() took', await alice.evaluate(() => Math.round(window.connectedMs)), 'ms (first)',
      await viewer.evaluate(() => Math.round(window.connectedMs)), 'ms (fifth)');
    await Promise.all(Object.values(all).map((page) => page.close()));
  });

  test('somebody joins alone without camera or microphone', async () => {
    const meeting = await appliance.createMeeting();
    const alone = await join(chrome, meeting, 'Alone', { audio: false, video: false });
    await until(alone, 'a connected transport', async (source) => {
      const facts = await (0, eval)(`(${source})`)();
      return facts.some((fact) => fact.dtlsState === 'connected');
    }, transportsInPage.toString());
    await alone.close();
  });

  test('simulcast at 640x360 sends one layer to each receiver', async () => {
    const meeting = await appliance.createMeeting();
    const capture = { width: 640, height: 360, frameRate: 15 };
    const sender = await join(chrome, meeting, 'Sender', { capture });
    const receiver = await join(chrome, meeting, 'Receiver', { audio: false, video: false });
    await receivesFrom(receiver, 1);
    await until(receiver, 'the full layer', async () => {
      const [one] = window.__kaigi.room.remoteParticipants.values();
      const [video] = [...one.trackPublications.values()].filter((publication) => publication.kind === 'video');
      return [...(await video.track.receiver.getStats()).values()].some((stat) => stat.type === 'inbound-rtp' && stat.frameWidth === 640);
    }, undefined, 45_000);
    await settledRates(receiver, (seen) => Object.values(seen).filter((one) => one.fps <= 10).map((one) => `${one.fps} fps`));
    await Promise.all([sender.close(), receiver.close()]);
  });

  test('end-to-end encrypted frames forward unharmed', async () => {
    const meeting = await appliance.createMeeting();
    const secret = { e2eeKey: 'correct horse battery staple' };
    const alice = await join(chrome, meeting, 'Alice', secret);
    const bob = await join(chrome, meeting, 'Bob', secret);
    const eve = await join(chrome, meeting, 'Eve', { e2eeKey: 'another key', audio: false, video: false });
    for (const page of [alice, bob]) {
      await until(page, 'video and sound of the other holder of the key', async () => {
        const other = [...window.__kaigi.room.remoteParticipants.values()].find((one) => ['Alice', 'Bob'].includes(one.name));
        let frames = 0, energy = 0;
        for (const publication of other?.trackPublications.values() ?? []) {
          for (const stat of (await publication.track?.receiver?.getStats())?.values() ?? []) {
            if (stat.type === 'inbound-rtp') { frames += stat.framesDecoded ?? 0; energy += stat.totalAudioEnergy ?? 0; }
          }
        }
        return frames > 30 && energy > 0 && other.isEncrypted;
      }, undefined, 30_000);
      assert.deepEqual(await page.evaluate(() => window.encryptionErrors), []);
    }
    // The frames are really encrypted: with another key nothing decodes, though packets arrive.
    const eavesdropped = await eve.evaluate(async () => {
      let frames = 0, packets = 0;
      for (const one of window.__kaigi.room.remoteParticipants.values()) {
        for (const publication of one.trackPublications.values()) {
          for (const stat of (await publication.track?.receiver?.getStats())?.values() ?? []) {
            if (stat.type === 'inbound-rtp' && stat.kind === 'video') { frames += stat.framesDecoded ?? 0; packets += stat.packetsReceived ?? 0; }
          }
        }
      }
      return { frames, packets };
    });
    assert.ok(eavesdropped.packets > 0, 'packets reach everybody');
    assert.equal(eavesdropped.frames, 0, 'but only the key opens them');
    await Promise.all([alice, bob, eve].map((page) => page.close()));
  });
});

describe('DTLS 1.3 by option', { timeout: 120_000 }, () => {
  test('both browsers connect with --dtls 1.3', async (t) => {
    const server = await Appliance.start(['--dtls', '1.3']);
    const served = await serveBarePage();
    const [first, second] = await Promise.all([chromium(), firefox()]);
    t.after(async () => {
      await Promise.allSettled([first.close(), second.close()]);
      served.close();
      await server.stop();
    });
    const meeting = await server.createMeeting();
    const opened = [];
    for (const [browser, name] of [[first, 'Aoi'], [second, 'Fuji']]) {
      const { media_server_url: url, session_token: token } = await server.join(meeting, name);
      const page = await browser.page(served.url);
      assert.equal(await page.evaluate((given) => window.connect(given), { url, token }), 'connected');
      opened.push(page);
    }
    for (const page of opened) await receivesFrom(page, 1);
    const facts = await opened[0].evaluate(transportsInPage);
    for (const fact of facts) assert.equal(fact.tlsVersion, 'FEFC', 'DTLS 1.3');
    const metrics = await server.metrics();
    const ready = [...metrics].filter(([key]) => key.startsWith('kaigi_peers_ready_total{dtls="1.3"'));
    assert.equal(ready.reduce((sum, [, value]) => sum + value, 0), 2, 'one connection each');
  });
});
