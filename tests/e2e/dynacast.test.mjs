// What a publisher sends follows what is watched, with the unmodified SDK.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Appliance } from './lib/appliance.mjs';
import { chromium, until } from './lib/browsers.mjs';
import { serveBarePage } from './lib/serve.mjs';

const CAPTURE = { width: 640, height: 360, frameRate: 15 };

let appliance, bare, chrome;

async function join(browser, meeting, name, options = {}) {
  const { media_server_url: url, session_token: token } = await appliance.join(meeting, name);
  const page = await browser.page(bare.url);
  const state = await page.evaluate((given) => window.connect(given), { url, token, audio: false, ...options });
  assert.equal(state, 'connected');
  return page;
}

/** Frames decoded of the one video that a page receives. */
const decoded = async () => {
  const [one] = window.__kaigi.room.remoteParticipants.values();
  const [video] = one?.videoTrackPublications.values() ?? [];
  const stats = [...((await video?.track?.receiver?.getStats())?.values() ?? [])];
  return stats.find((stat) => stat.type === 'inbound-rtp')?.framesDecoded ?? 0;
};

/** Whether each layer of the page's camera is active, lowest first. */
const layers = () => {
  const [publication] = window.__kaigi.room.localParticipant.videoTrackPublications.values();
  return publication.track.sender.getParameters().encodings.map((encoding) => encoding.active);
};

describe('what a publisher sends', { timeout: 240_000 }, () => {
  before(async () => {
    appliance = await Appliance.start();
    [bare, chrome] = await Promise.all([serveBarePage(), chromium()]);
  });
  after(async () => {
    await chrome?.close();
    bare?.close();
    await appliance?.stop();
  });

  test('layers nobody watches are switched off and are back within a second of a wish', async () => {
    const meeting = await appliance.createMeeting();
    const roomOptions = { dynacast: true };
    const sender = await join(chrome, meeting, 'Sender', { capture: CAPTURE, roomOptions });
    const receiver = await join(chrome, meeting, 'Receiver', { video: false });
    await until(receiver, 'a picture', async (source) => await (0, eval)(`(${source})`)() > 10, decoded.toString());
    const isSending = (wanted, what, timeoutMs) => until(sender, what, ([source, wanted]) =>
      JSON.stringify((0, eval)(`(${source})`)()) === wanted, [layers.toString(), JSON.stringify(wanted)], timeoutMs);
    const wish = (quality) => receiver.evaluate((quality) => {
      const [one] = window.__kaigi.room.remoteParticipants.values();
      const [video] = one.videoTrackPublications.values();
      if (quality === undefined) video.setEnabled(false);
      else { video.setEnabled(true); video.setVideoQuality(quality); }
    }, quality);
    await isSending([true, true], 'both layers');
    await wish(0);
    await isSending([true, false], 'the lower layer alone');
    await wish(undefined);
    await isSending([false, false], 'nothing');
    const before = await receiver.evaluate(decoded);
    const asked = performance.now();
    await wish(2);
    await isSending([true, true], 'both layers again', 1_000);
    const toldMs = Math.round(performance.now() - asked);
    await until(receiver, 'frames again', async ([source, before]) =>
      await (0, eval)(`(${source})`)() > before, [decoded.toString(), before]);
    console.log(`layers back after ${toldMs} ms, next frame decoded ${Math.round(performance.now() - asked)} ms after the wish`);
    await Promise.all([sender.close(), receiver.close()]);
  });
});
