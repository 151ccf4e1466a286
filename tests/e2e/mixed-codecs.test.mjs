// A publisher whose codec not everybody decodes: a backup is sent for those who need it, and only while they are there.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { stage } from './lib/stage.mjs';
import { inbound, outboundStreamsInPage, sleep, untilInbound } from './lib/streams.mjs';

const decodes = (one) => one.frames > 10;

/** Frames that a page sends in each codec while `ms` pass. */
async function framesSent(page, ms) {
  const count = async () => {
    const counts = {};
    for (const one of await page.evaluate(outboundStreamsInPage)) if (one.kind === 'video') counts[one.codec] = (counts[one.codec] ?? 0) + one.frames;
    return counts;
  };
  const before = await count();
  await sleep(ms);
  const after = await count();
  return Object.fromEntries(Object.entries(after).map(([codec, frames]) => [codec, frames - (before[codec] ?? 0)]));
}

describe('a room of many codecs', { timeout: 180_000 }, () => {
  const on = stage({ fox: true });

  test('everybody sees everybody, and the backup is sent only while somebody needs it', async () => {
    const meeting = await on.appliance.createMeeting();
    const join = (browser, name, options) => on.join({ browser, meeting, name, ...options });
    const aoi = await join(on.chrome, 'Aoi', { videoCodec: 'h264', roomOptions: { dynacast: true, publishDefaults: { backupCodec: { codec: 'vp8' } } } });
    const botan = await join(on.chrome, 'Botan', { videoCodec: 'av1', roomOptions: { dynacast: true, publishDefaults: { scalabilityMode: 'L1T3', backupCodec: true } } });
    for (const [page, from] of [[aoi, 'Botan'], [botan, 'Aoi']]) {
      const one = await untilInbound(page, `video from ${from}`, 'video', decodes, { from });
      console.log(`before Firefox: ${one.codec} from ${from}`);
    }
    const alone = await framesSent(aoi, 2000);
    console.log('Aoi sends', alone);
    assert.ok(alone.H264 > 5 && !(alone.VP8 > 0), 'no backup while nobody needs it');

    const start = performance.now();
    const fuji = await join(on.fox, 'Fuji', { videoCodec: 'vp8' });
    for (const [page, name, others] of [[fuji, 'Fuji', ['Aoi', 'Botan']], [aoi, 'Aoi', ['Botan', 'Fuji']], [botan, 'Botan', ['Aoi', 'Fuji']]]) {
      for (const from of others) {
        const one = await untilInbound(page, `video from ${from} at ${name}`, 'video', decodes, { from });
        console.log(`${name} decodes ${one.codec} from ${from} ${Math.round(performance.now() - start)} ms after Firefox began to join`);
        assert.notEqual(name === 'Fuji' && one.codec, 'H264', 'Firefox has no H264');
      }
    }
    assert.equal((await inbound(fuji, 'video', { from: 'Aoi' })).codec, 'VP8');
    const together = await framesSent(aoi, 2000);
    console.log('Aoi sends', together);
    assert.ok(together.VP8 > 5, 'the backup');

    await fuji.evaluate(() => window.__kaigi.room.disconnect());
    const gone = performance.now();
    for (;;) {
      const frames = await framesSent(aoi, 1000);
      if (frames.H264 > 3 && !(frames.VP8 > 0)) break;
      assert.ok(performance.now() - gone < 15_000, `still sent: ${JSON.stringify(frames)}`);
    }
    console.log(`the backup is off ${Math.round(performance.now() - gone)} ms after Firefox left`);
    const before = await inbound(botan, 'video', { from: 'Aoi' });
    await sleep(2000);
    const after = await inbound(botan, 'video', { from: 'Aoi' });
    assert.ok(after.frames > before.frames + 10, 'and Aoi is still seen');
    await Promise.all([aoi.close(), botan.close(), fuji.close()]);
  });
});
