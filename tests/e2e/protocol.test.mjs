// Protocol v1 (one connection for both directions) beside v0 (two), with the unmodified SDK in both browsers: meeting, joining, cut
// signalling, permissions, a server that starts again.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { until } from './lib/browsers.mjs';
import { Cuts } from './lib/cuts.mjs';
import { inboundInPage, receivesFrom, settledRates } from './lib/media.mjs';
import { noiseDevices } from './lib/noise.mjs';
import { stage } from './lib/stage.mjs';

const JOINS = Number(process.env.KAIGI_JOINS ?? 5);
const CUTS = Number(process.env.KAIGI_CUTS ?? 4);

const V0 = { roomOptions: { singlePeerConnection: false } };
const connectionsInPage = () => (window.__kaigi.room.engine.pcManager.subscriber ? 2 : 1);
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Joins, waits for the first decoded frame and leaves; when each part was over, milliseconds after the start. */
const joinInPage = async ({ url, token, singlePeerConnection }) => {
  const Native = window.RTCPeerConnection;
  const start = performance.now();
  const over = {};
  const mark = (what) => { over[what] ??= performance.now() - start; };
  window.RTCPeerConnection = class extends Native {
    constructor(...given) {
      super(...given);
      this.addEventListener('iceconnectionstatechange', () => ['connected', 'completed'].includes(this.iceConnectionState) && mark('ice'));
      this.addEventListener('connectionstatechange', () => this.connectionState === 'connected' && mark('dtls'));
    }
  };
  const room = new window.LivekitClient.Room({ singlePeerConnection });
  try {
    room.on('signalConnected', () => mark('websocket'));
    const shown = new Promise((resolve) => {
      room.on('trackSubscribed', (track) => {
        const element = track.attach();
        document.body.appendChild(element);
        if (track.kind === 'video') element.requestVideoFrameCallback(() => { mark('frame'); resolve(); });
      });
    });
    await room.connect(url, token);
    await Promise.race([shown, new Promise((_, reject) => setTimeout(() => reject(new Error('no frame within 20 s')), 20_000))]);
    return over;
  } finally {
    await room.disconnect();
    document.body.replaceChildren();
    window.RTCPeerConnection = Native;
  }
};

/** Notes what happens to a room from now on. */
const noteInPage = () => {
  const { room } = window.__kaigi;
  const noted = (window.noted = { resumed: 0, restarts: 0, ends: 0, flaps: 0 });
  room.on('reconnected', () => noted.resumed++);
  room.on('reconnecting', () => noted.restarts++);
  room.on('disconnected', () => noted.ends++);
  for (const event of ['participantConnected', 'participantDisconnected', 'trackUnsubscribed', 'trackUnpublished']) {
    room.on(event, () => noted.flaps++);
  }
};

const frames = async (page) => Object.fromEntries(Object.values(await page.evaluate(inboundInPage)).map((one) => [one.name, one.videoFrames]));

describe('protocol v1 beside v0', { timeout: 240_000 + CUTS * 8_000 + JOINS * 4_000 }, () => {
  const on = stage({ fox: true });

  test('people with one and with two connections meet, and more tracks than sections were offered arrive', async () => {
    const meeting = await on.appliance.createMeeting();
    const pages = {
      one: await on.join({ meeting, name: 'one' }),
      fox: await on.join({ meeting, name: 'fox', browser: on.fox }),
      two: await on.join({ meeting, name: 'two', ...V0 }),
    };
    const connections = {};
    for (const [name, page] of Object.entries(pages)) connections[name] = await page.evaluate(connectionsInPage);
    assert.deepEqual(connections, { one: 1, fox: 1, two: 2 }, 'the SDK speaks v1 by itself, and v0 when told');
    // Three people with a camera, and two more pictures of one of them: four videos for each of the others.
    await pages.two.evaluate(async () => {
      for (const name of ['first', 'second']) {
        const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
        const paint = canvas.getContext('2d');
        let hue = 0;
        setInterval(() => { paint.fillStyle = `hsl(${(hue += 7)} 80% 50%)`; paint.fillRect(0, 0, 320, 180); }, 100);
        await window.__kaigi.room.localParticipant.publishTrack(canvas.captureStream(10).getVideoTracks()[0], { name, simulcast: false });
      }
    });
    await Promise.all(Object.entries(pages).map(async ([name, page]) => {
      await until(page, `${name} to decode every video`, async (expected) => {
        let decoded = 0;
        for (const one of window.__kaigi.room.remoteParticipants.values()) {
          for (const publication of one.videoTrackPublications.values()) {
            const stats = [...((await publication.track?.receiver?.getStats())?.values() ?? [])];
            decoded += stats.some((stat) => stat.type === 'inbound-rtp' && stat.framesDecoded > 0) ? 1 : 0;
          }
        }
        return decoded === expected;
      }, name === 'two' ? 2 : 4, 30_000);
      await settledRates(page, (seen) => Object.values(seen)
        .filter((one) => one.fps <= 5 || one.energy <= 0).map((one) => `${name}: ${one.fps.toFixed(1)} fps, energy ${one.energy} from ${one.name}`));
    }));
    // Somebody leaves and somebody else comes: sections are used again.
    await pages.two.close();
    await until(pages.one, 'the one who left to be gone', () => window.__kaigi.room.remoteParticipants.size === 1);
    const late = await on.join({ meeting, name: 'late', audio: false });
    for (const page of [pages.one, pages.fox]) {
      await until(page, 'the late camera', async () => {
        const late = [...window.__kaigi.room.remoteParticipants.values()].find((one) => one.name === 'late');
        const [camera] = late?.videoTrackPublications.values() ?? [];
        const stats = [...((await camera?.track?.receiver?.getStats())?.values() ?? [])];
        return stats.some((stat) => stat.type === 'inbound-rtp' && stat.framesDecoded > 5);
      });
    }
    await Promise.all([pages.one, pages.fox, late].map((page) => page.close()));
  });

  test(`joining with v0 and with v1, ${JOINS} times each`, async () => {
    const meeting = await on.appliance.createMeeting();
    const sender = await on.join({ meeting, name: 'sender', audio: false });
    const page = await on.chrome.page(on.bare.url);
    const parts = { v0: [], v1: [] };
    for (let round = 0; round < JOINS; round++) {
      for (const version of ['v0', 'v1']) {
        const { media_server_url: url, session_token: token } = await on.appliance.join(meeting, version);
        const over = await page.evaluate(joinInPage, { url, token, singlePeerConnection: version === 'v1' });
        for (const part of ['websocket', 'ice', 'dtls', 'frame']) assert.ok(over[part] > 0, `${version}: ${part} in ${JSON.stringify(over)}`);
        parts[version].push(over);
      }
    }
    for (const [version, joins] of Object.entries(parts)) {
      const p50 = (part) => median(joins.map((over) => over[part])).toFixed(0);
      console.log(`join with ${version}, p50 of ${JOINS}: WebSocket ${p50('websocket')} ms, ICE ${p50('ice')} ms, DTLS ${p50('dtls')} ms, first frame ${p50('frame')} ms`);
    }
    await Promise.all([page.close(), sender.close()]);
  });

  test(`signalling is cut ${CUTS} times: media goes on, and nobody seems to leave`, async (t) => {
    const meeting = await on.appliance.createMeeting();
    const cuts = await Cuts.before(on.appliance.port);
    t.after(() => cuts.close());
    const join = async (name, browser, options = {}) => {
      const { session_token: token } = await on.appliance.join(meeting, name);
      const page = await browser.page(on.bare.url);
      assert.equal(await page.evaluate((given) => window.connect(given), { url: cuts.url, token, ...options }), 'connected');
      return page;
    };
    const people = { one: await join('one', on.chrome), two: await join('two', on.chrome, V0), fox: await join('fox', on.fox, { audio: false }) };
    const observer = await on.join({ meeting, name: 'observer', audio: false, video: false });
    for (const page of Object.values(people)) await receivesFrom(page, 3, { video: false, audio: false });
    await until(observer, 'every picture', async (source) => Object.values(await (0, eval)(`(${source})`)()).every((one) => one.videoFrames > 5), inboundInPage.toString());
    for (const page of [observer, ...Object.values(people)]) await page.evaluate(noteInPage);
    for (let round = 1; round <= CUTS; round++) {
      const before = await frames(observer);
      assert.ok(cuts.cut() >= 3, 'three signal connections');
      for (const [name, page] of Object.entries(people)) {
        await until(page, `${name} to be back after cut ${round}`, (round) => window.noted.resumed >= round && window.__kaigi.room.state === 'connected', round, 30_000);
      }
      const after = await frames(observer);
      for (const name of Object.keys(people)) assert.ok(after[name] > before[name], `${name} is seen on through cut ${round}`);
    }
    for (const [name, page] of Object.entries(people)) {
      assert.deepEqual(await page.evaluate(() => window.noted), { resumed: CUTS, restarts: 0, ends: 0, flaps: 0 }, `${name} resumed every time`);
    }
    assert.deepEqual(await observer.evaluate(() => window.noted), { resumed: 0, restarts: 0, ends: 0, flaps: 0 }, 'the observer noticed nothing');
    await Promise.all([observer, ...Object.values(people)].map((page) => page.close()));
  });

  test('publishers say who receives them, and the host who publishes', async () => {
    const meeting = await on.appliance.createMeeting();
    const sender = await on.join({ meeting, name: 'sender' });
    const receiver = await on.join({ meeting, name: 'receiver', audio: false, video: false });
    const received = (count) => until(receiver, `${count} tracks`, (count) => {
      const [one] = window.__kaigi.room.remoteParticipants.values();
      return [...(one?.trackPublications.values() ?? [])].filter((publication) => publication.isSubscribed).length === count;
    }, count);
    await received(2);
    await sender.evaluate(() => window.__kaigi.room.localParticipant.setTrackSubscriptionPermissions(false, []));
    await received(0);
    await sender.evaluate(() => window.__kaigi.room.localParticipant.setTrackSubscriptionPermissions(true));
    await received(2);
    const permit = (body) => on.appliance.api('PATCH', `/meetings/${meeting.id}/participants/${sender.identity}/permissions`, body, meeting.host_token);
    assert.equal((await permit({ can_publish: false })).can_publish, false);
    await until(sender, 'its tracks to be gone', () => {
      const { permissions, trackPublications } = window.__kaigi.room.localParticipant;
      return permissions.canPublish === false && trackPublications.size === 0;
    });
    await until(receiver, 'no publication', () => [...window.__kaigi.room.remoteParticipants.values()].every((one) => one.trackPublications.size === 0));
    await permit({ can_publish: true });
    await until(sender, 'the permission', () => window.__kaigi.room.localParticipant.permissions.canPublish);
    await sender.evaluate(() => window.__kaigi.room.localParticipant.setCameraEnabled(true));
    await received(1);
    await receivesFrom(receiver, 1, { audio: false });
    await Promise.all([sender.close(), receiver.close()]);
  });

  test('after a restart of the server both protocols join anew', async () => {
    const meeting = await on.appliance.createMeeting();
    const own = { audio: false, scripts: [noiseDevices({ width: 320, height: 180 })] };
    const pages = [await on.join({ meeting, name: 'one', ...own }), await on.join({ meeting, name: 'two', ...own, ...V0 })];
    for (const page of pages) await receivesFrom(page, 1, { audio: false });
    const sids = await Promise.all(pages.map((page) => page.evaluate(() => window.__kaigi.room.localParticipant.sid)));
    await on.appliance.crashAndRestart();
    for (const [index, page] of pages.entries()) {
      await until(page, 'a new session', (before) => window.__kaigi.room.state === 'connected' && window.__kaigi.room.localParticipant.sid !== before, sids[index], 40_000);
    }
    await Promise.all(pages.map(async (page) => {
      await receivesFrom(page, 1, { audio: false });
      await settledRates(page, (seen) => Object.values(seen).filter((one) => one.fps <= 5).map((one) => `${one.fps} fps from ${one.name}`));
      assert.equal(await page.evaluate(() => window.__kaigi.room.remoteParticipants.size), 1);
    }));
    assert.deepEqual(await Promise.all(pages.map((page) => page.evaluate(connectionsInPage))), [1, 2]);
    await Promise.all(pages.map((page) => page.close()));
  });
});
