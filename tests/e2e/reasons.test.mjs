// "Why am I blurry?": each cause is brought about, the API says it, and the tile shows it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { firefox, until } from './lib/browsers.mjs';
import { noiseDevices } from './lib/noise.mjs';
import { routeThrough } from './lib/relay.mjs';
import { stage } from './lib/stage.mjs';
import { sleep, untilInbound } from './lib/streams.mjs';

const PATIENCE_MS = 15_000;
const CAPTURE = { width: 640, height: 360, frameRate: 15 };

// With KAIGI_SCREENSHOTS=DIR every badge is also kept as a picture, to be looked at.
const shots = process.env.KAIGI_SCREENSHOTS;
const shoot = async (page, name) => {
  if (!shots) return;
  fs.mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: path.join(shots, `reason-${name}.png`) });
};

describe('the reason of a reduced video', { timeout: 240_000 }, () => {
  const on = stage({ relay: true });

  const publisher = (meeting, { dynacast = true, ...options } = {}) => on.join({
    meeting, name: 'Sender', scripts: [noiseDevices()], capture: CAPTURE, ...options,
    roomOptions: { dynacast, publishDefaults: { degradationPreference: 'maintain-resolution', backupCodec: false } },
  });
  /** Somebody on the product's page who only looks and listens. */
  const viewer = async (meeting, scripts = [], browser = on.chrome) => {
    const page = await browser.page(`${on.appliance.url}${meeting.path}?${new URLSearchParams({ name: 'Viewer', autojoin: '1', mic: '0', camera: '0' })}`, scripts);
    page.identity = await until(page, 'a connected room', () => window.__kaigi?.room.state === 'connected' && window.__kaigi.room.localParticipant.identity);
    return page;
  };
  const fullPicture = (page) => untilInbound(page, 'the full picture', 'video', (one) => one.width === 640 && one.fps > 5, { timeoutMs: 45_000 });
  const pin = (page, kind) => page.click(`[data-testid=tile][data-local=false][data-kind=${kind}] [data-testid=pin-button]`);

  /** Waits until the API gives this reason for the viewer's stream and its tile shows it. */
  const says = async (page, meeting, reason, { source = 'camera', tile = true } = {}) => {
    const start = performance.now();
    let last;
    for (;;) {
      const media = await on.appliance.media(meeting, page.identity);
      const one = media.receives.find((track) => track.source === source);
      const text = media.receives.map((one) => `${one.source} ${one.reason} (${one.paused ? 'paused' : `layer ${one.layer}.${one.temporal_layer} of ${one.layers_available}, ${Math.round(one.bitrate_bps / 1000)} kbit/s`})`).join('; ');
      if (text !== last) console.log(`  ${Math.round(performance.now() - start)} ms: ${text}, link ${Math.round((media.link?.estimate_bps ?? 0) / 1000)} kbit/s`);
      last = text;
      if (one?.reason === reason) {
        assert.ok(one.reason_text.length > 20, 'a sentence for people');
        break;
      }
      assert.ok(performance.now() - start < PATIENCE_MS, `the API says ${text} instead of ${reason}`);
      await sleep(250);
    }
    const ms = performance.now() - start;
    if (tile) {
      const words = await until(page, `the tile to show ${reason}`, ({ reason, source }) => {
        const kind = source === 'camera' ? 'camera' : 'screen';
        const badge = document.querySelector(`[data-testid=tile][data-local=false][data-kind=${kind}] [data-testid=tile-reason]`);
        return badge?.dataset.reason === reason ? badge.innerText.trim() : null;
      }, { reason, source });
      console.log(`${reason}: the API says it after ${Math.round(ms)} ms, the tile after ${Math.round(performance.now() - start)} ms: "${words.replaceAll('\n', ' ')}"`);
      await shoot(page, reason);
    }
  };

  test('a link that carries no more', async () => {
    const meeting = await on.appliance.createMeeting();
    const access = await on.relay.access(on.appliance, 'narrow');
    const [sender, page] = [await publisher(meeting), await viewer(meeting, [routeThrough(access)])];
    await fullPicture(page);
    await access.set({ down: { rateKbps: 300, delayMs: 20 } });
    await says(page, meeting, 'link_estimate');
    await Promise.all([sender.close(), page.close()]);
  });

  test('a publisher that sends less', async () => {
    const meeting = await on.appliance.createMeeting();
    const [sender, page] = [await publisher(meeting, { dynacast: false }), await viewer(meeting)];
    await fullPicture(page);
    await sender.evaluate(async () => {
      const [camera] = window.__kaigi.room.localParticipant.videoTrackPublications.values();
      const { sender } = camera.track;
      const parameters = sender.getParameters();
      for (const encoding of parameters.encodings) encoding.active = encoding.rid === 'q';
      await sender.setParameters(parameters);
    });
    await says(page, meeting, 'publisher_sends_less');
    await Promise.all([sender.close(), page.close()]);
  });

  test('a client that asked for less', async () => {
    const meeting = await on.appliance.createMeeting();
    const [sender, page] = [await publisher(meeting), await viewer(meeting)];
    await fullPicture(page);
    // Only a large tile explains that it was asked for little.
    await pin(page, 'camera');
    await page.evaluate(() => {
      const [one] = window.__kaigi.room.remoteParticipants.values();
      one.getTrackPublication('camera').setVideoQuality(0);
    });
    await says(page, meeting, 'client_asked_less');
    await untilInbound(page, 'the small picture', 'video', (one) => one.width === 320);
    await Promise.all([sender.close(), page.close()]);
  });

  test('something more important on the same link', async () => {
    const meeting = await on.appliance.createMeeting();
    const access = await on.relay.access(on.appliance, 'shared');
    const [sender, page] = [await publisher(meeting, { audio: false }), await viewer(meeting, [routeThrough(access)])];
    await fullPicture(page);
    await sender.evaluate(() => window.shareCanvas({ width: 640, height: 360, frameRate: 15, bitrate: 400_000, simulcast: false }));
    await untilInbound(page, 'the screen', 'video', (one) => one.frames > 5, { source: 'screen_share' });
    // A large tile wants the large layer: 450 kbit/s beside the 400 of the screen, of which either alone would fit. The screen has one
    // layer, because the small tile that is left for it would ask for a smaller one, and then both fit.
    await pin(page, 'camera');
    await untilInbound(page, 'both', 'video', (one) => one.width === 640 && one.fps > 5, { source: 'camera' });
    await access.set({ down: { rateKbps: 700, delayMs: 20 } });
    await says(page, meeting, 'priority');
    await Promise.all([sender.close(), page.close()]);
  });

  test('a codec that the receiver does not decode', async () => {
    const fox = await firefox();
    try {
      const meeting = await on.appliance.createMeeting();
      const sender = await publisher(meeting, { videoCodec: 'h264' });
      const page = await viewer(meeting, [], fox);
      await says(page, meeting, 'codec_missing');
      await sender.close();
    } finally {
      await fox.close();
    }
  });
});
