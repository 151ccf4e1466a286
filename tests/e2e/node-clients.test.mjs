// WebRTC in Node, without a browser: libwebrtc as `@roamhq/wrtc`, which encodes and decodes, and `werift` in TypeScript, which relays.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { noiseDevices } from './lib/noise.mjs';
import { stage } from './lib/stage.mjs';
import { sleep, untilInbound } from './lib/streams.mjs';
import { WeriftRelay } from './lib/werift-relay.mjs';
import { NativeClient } from './lib/wrtc.mjs';

const PATIENCE_MS = 30_000;

const until = async (what, state, good) => {
  for (const begun = performance.now(); ; await sleep(100)) {
    if (good(state())) return state();
    assert.ok(performance.now() - begun < PATIENCE_MS, `no ${what}: ${JSON.stringify(state())}`);
  }
};

describe('clients in Node', { timeout: 150_000 }, () => {
  const on = stage();

  test('@roamhq/wrtc publishes to a browser and plays what it sends', async (t) => {
    const { appliance } = on;
    const meeting = await appliance.createMeeting();
    const page = await on.join({ meeting, name: 'Page', capture: { width: 640, height: 360, frameRate: 15 }, scripts: [noiseDevices()] });

    const player = await NativeClient.play(appliance, meeting, 'Player');
    t.after(() => player.kill());
    const seen = await until('picture and sound of the page', () => player.seen, (one) => one.frames > 30 && one.loudSamples > 24_000);
    assert.ok([640, 320].includes(seen.width) && seen.width / seen.height === 16 / 9, JSON.stringify(seen));

    const publisher = await NativeClient.publish(appliance, meeting, 'Camera', { width: 480, height: 270 });
    t.after(() => publisher.kill());
    const picture = await untilInbound(page, 'its picture', 'video', ({ frames }) => frames > 30, { from: 'Camera', timeoutMs: PATIENCE_MS });
    assert.deepEqual([picture.width, picture.height], [480, 270]);
    const sound = await untilInbound(page, 'its sound', 'audio', ({ energy }) => energy > 0.05, { from: 'Camera', timeoutMs: PATIENCE_MS });
    console.log(JSON.stringify({ player: seen, page: { frames: picture.frames, codec: picture.codec, energy: sound.energy } }));

    assert.equal(await publisher.close(), 200);
    assert.equal(await player.close(), 200);
    await page.close();
  });

  test('werift plays a meeting and publishes what it was sent to another', async (t) => {
    const { appliance } = on;
    const [from, to] = await Promise.all([appliance.createMeeting(), appliance.createMeeting()]);
    const publisher = await NativeClient.publish(appliance, from, 'Camera', { width: 320, height: 180 });
    t.after(() => publisher.kill());

    const relay = await WeriftRelay.open(appliance, { from, to }, 'Relay');
    t.after(() => relay.close());
    const isWhole = ({ video, audio }) => video.pictures > 45 && audio.packets > 100 && video.missing + audio.missing === 0;
    const { video } = await until('pictures and sound without gaps', () => relay.seen, isWhole);
    assert.ok(video.startsWithKeyframe, JSON.stringify(video));

    // It comes while the relay runs: the keyframe it needs is asked of the relay, and by that of the camera.
    const player = await NativeClient.play(appliance, to, 'Player');
    t.after(() => player.kill());
    const shown = await until('the relayed picture and sound', () => player.seen, (one) => one.frames > 30 && one.loudSamples > 24_000);
    assert.deepEqual([shown.width, shown.height], [320, 180]);
    assert.ok(relay.seen.keyframesAsked > 0);
    console.log(JSON.stringify({ relay: relay.seen, player: shown }));

    assert.equal(await player.close(), 200);
    assert.deepEqual(await relay.close(), [200, 200]);
    assert.equal(await publisher.close(), 200);
  });
});
