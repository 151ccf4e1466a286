// Layers of one stream: each quality in turn decodes, and switching between them does not hurt.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { noiseDevices } from './lib/noise.mjs';
import { stage } from './lib/stage.mjs';
import { between, inbound, outboundStreamsInPage, sleep, untilInbound } from './lib/streams.mjs';

const CAPTURE = { width: 640, height: 360, frameRate: 15 };
const [LOW, MEDIUM, HIGH] = [0, 1, 2];
const SWITCHES = 100;
/** Three rates of one stream. A stream without spatial layers has only its frame rate to give. */
const RATES = {
  spatial: { low: [LOW, 30], slow: [HIGH, 8], high: [HIGH, 30] },
  temporal: { low: [HIGH, 4], slow: [HIGH, 8], high: [HIGH, 30] },
};

/** Asks for a quality, and for so many frames per second, of the only video there is. */
const want = (page, [quality, fps]) => page.evaluate(([quality, fps]) => {
  const [one] = window.__kaigi.room.remoteParticipants.values();
  const video = [...one.trackPublications.values()].find((publication) => publication.kind === 'video');
  video.setVideoQuality(quality);
  video.setVideoFPS(fps);
}, [quality, fps]);

describe('layers', { timeout: 240_000 }, () => {
  const on = stage();

  /** A publisher with one video and a receiver that has its full picture. */
  const meet = async (publishDefaults) => {
    const meeting = await on.appliance.createMeeting();
    const common = { meeting, audio: false };
    const sender = await on.join({
      ...common, name: 'Sender', scripts: [noiseDevices()], capture: CAPTURE, videoCodec: publishDefaults.videoCodec,
      roomOptions: { publishDefaults: { degradationPreference: 'maintain-resolution', backupCodec: false, ...publishDefaults } },
    });
    const receiver = await on.join({ ...common, name: 'Receiver', video: false });
    await untilInbound(receiver, 'the full picture', 'video', (one) => one.width === 640 && one.fps > 5, { timeoutMs: 45_000 });
    return { sender, receiver, close: () => Promise.all([sender.close(), receiver.close()]) };
  };

  for (const [videoCodec, scalabilityMode] of [['vp9', 'L3T3_KEY'], ['vp9', 'L3T3'], ['av1', 'L3T3_KEY'], ['av1', 'L1T3']]) {
    test(`${videoCodec} ${scalabilityMode}: one receiver decodes at each of three rates in turn`, async () => {
      const { sender, receiver, close } = await meet({ videoCodec, scalabilityMode });
      const [sent] = (await sender.evaluate(outboundStreamsInPage)).filter((one) => one.kind === 'video');
      console.log(`${videoCodec}: Chromium sends ${sent.codec} ${sent.mode} at ${sent.width}x${sent.height}`);
      assert.equal(sent.codec.toLowerCase(), videoCodec);
      // 640x360 is too small for a third spatial layer: Chromium makes L2 of L3.
      const spatial = Number(/^L(\d)/.exec(sent.mode)[1]) > 1;
      const rates = RATES[spatial ? 'spatial' : 'temporal'];
      const got = {};
      for (const name of ['low', 'slow', 'high', 'low']) {
        await want(receiver, rates[name]);
        await sleep(1500);
        const before = await inbound(receiver, 'video');
        await sleep(2000);
        const one = (got[name] = between(before, await inbound(receiver, 'video'), 2));
        console.log(`  ${name.padEnd(4)}: ${one.width} wide, ${one.fps.toFixed(1)} fps, ${Math.round(one.bps / 1000)} kbit/s, ${one.freezes} freezes, ${one.plis} PLI`);
        // The slowest is a quarter of the captured rate, of which a busy machine encodes a part.
      assert.ok(one.fps >= 1, `${name} decodes ${one.fps} fps`);
        assert.ok(one.plis <= 2, `${name}: the decoder asked for ${one.plis} keyframes`);
      }
      const { low, slow, high } = got;
      assert.deepEqual([low.width, slow.width, high.width], [spatial ? 320 : 640, 640, 640]);
      // Of what is captured: a busy machine encodes and shows less of the full rate.
      assert.ok(slow.fps < 0.75 * CAPTURE.frameRate && slow.fps < high.fps, `${slow.fps} fps were to be fewer than ${high.fps}`);
      assert.ok(low.bps < 0.8 * high.bps && slow.bps < high.bps, `${low.bps} and ${slow.bps} bit/s are less than ${high.bps}`);
      await close();
    });
  }

  test(`VP8 simulcast: ${SWITCHES} forced switches`, async () => {
    const { receiver, close } = await meet({ videoCodec: 'vp8' });
    const before = await inbound(receiver, 'video');
    const start = performance.now();
    let longest = 0, last = before, changes = 0, state = 7;
    for (let number = 0; number < SWITCHES; number++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      await want(receiver, [[LOW, MEDIUM, HIGH][(state >>> 16) % 3], 30]);
      await sleep(300 + (state % 100));
      const now = await inbound(receiver, 'video');
      longest = Math.max(longest, (now.freezeSeconds - last.freezeSeconds) / Math.max(1, now.freezes - last.freezes));
      changes += now.width === last.width ? 0 : 1;
      last = now;
    }
    const all = between(before, last, (performance.now() - start) / 1000);
    console.log(`${SWITCHES} switches: the size changed ${changes} times, ${all.freezes} freezes of ${all.freezeSeconds.toFixed(2)} s together, the longest ${longest.toFixed(2)} s, ${all.fps.toFixed(1)} fps, ${all.plis} PLI`);
    assert.ok(changes > 10, `the size changed only ${changes} times`);
    assert.ok(all.fps > 5, `${all.fps} fps over all`);
    await want(receiver, [HIGH, 30]);
    const high = await untilInbound(receiver, 'the full picture at the end', 'video', (one) => one.width === 640 && one.fps > 5);
    assert.equal(high.width, 640);
    await close();
  });
});
