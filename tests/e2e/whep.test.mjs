// WHIP and WHEP with nothing but the browser: RTCPeerConnection and fetch, from a page of another origin.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { until } from './lib/browsers.mjs';
import { noiseDevices } from './lib/noise.mjs';
import { stage } from './lib/stage.mjs';
import { sleep, untilInbound } from './lib/streams.mjs';

/** Opens a session: the offer that `prepare` made, complete with candidates, against a door. */
const openInPage = async ({ door, token, prepare }) => {
  const peer = new RTCPeerConnection();
  await (0, eval)(`(${prepare})`)(peer);
  await peer.setLocalDescription();
  await new Promise((resolve) => {
    if (peer.iceGatheringState === 'complete') resolve();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && resolve();
  });
  const authorization = `Bearer ${token}`;
  const body = peer.localDescription.sdp;
  const response = await fetch(door, { method: 'POST', headers: { authorization, 'content-type': 'application/sdp' }, body });
  const answer = await response.text();
  if (response.status !== 201) throw new Error(`${response.status}: ${answer}`);
  await peer.setRemoteDescription({ type: 'answer', sdp: answer });
  window.session = { peer, authorization, url: new URL(response.headers.get('location'), door).href, tag: response.headers.get('etag') };
  return answer;
};

/** ICE begins anew by PATCH; the new entity tag. */
const restartInPage = async () => {
  const { peer, authorization, url } = window.session;
  await peer.setLocalDescription(await peer.createOffer({ iceRestart: true }));
  const lines = peer.localDescription.sdp.split('\r\n');
  const body = ['a=ice-ufrag:', 'a=ice-pwd:'].map((name) => lines.find((line) => line.startsWith(name))).join('\r\n') + '\r\n';
  const headers = { authorization, 'content-type': 'application/trickle-ice-sdpfrag', 'if-match': '*' };
  const response = await fetch(url, { method: 'PATCH', headers, body });
  const fragment = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${fragment}`);
  const ours = (name) => fragment.split('\r\n').find((line) => line.startsWith(name));
  const sdp = peer.currentRemoteDescription.sdp.split('\r\n').map((line) => ['a=ice-ufrag:', 'a=ice-pwd:'].some((name) => line.startsWith(name)) ? ours(line.slice(0, line.indexOf(':') + 1)) : line);
  await peer.setRemoteDescription({ type: 'answer', sdp: sdp.join('\r\n') });
  window.session.tag = response.headers.get('etag');
  return window.session.tag;
};

const closeInPage = async () => {
  const { peer, authorization, url } = window.session;
  const { status } = await fetch(url, { method: 'DELETE', headers: { authorization } });
  peer.close();
  return status;
};

const receive = (peer) => {
  for (const kind of ['audio', 'video']) peer.addTransceiver(kind, { direction: 'recvonly' });
  peer.ontrack = ({ track }) => {
    const element = document.body.appendChild(document.createElement(track.kind));
    Object.assign(element, { srcObject: new MediaStream([track]), autoplay: true, muted: track.kind === 'video' });
  };
};

/** Chromium sends no third layer of less than 960x540, whatever it is asked. */
const sendLayers = async (peer) => {
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 960, height: 540, frameRate: 15 } });
  peer.addTransceiver(media.getAudioTracks()[0], { direction: 'sendonly' });
  const layers = [['q', 4, 100_000], ['h', 2, 250_000], ['f', 1, 500_000]];
  const sendEncodings = layers.map(([rid, scaleResolutionDownBy, maxBitrate]) => ({ rid, scaleResolutionDownBy, maxBitrate }));
  peer.addTransceiver(media.getVideoTracks()[0], { direction: 'sendonly', sendEncodings });
};

/** Frames decoded, size of the picture, SSRCs ever seen, packets of sound. */
const shownInPage = async () => {
  const inbound = [...(await window.session.peer.getStats()).values()].filter((stat) => stat.type === 'inbound-rtp');
  const [video, audio] = ['video', 'audio'].map((kind) => inbound.filter((stat) => stat.kind === kind));
  return {
    frames: video[0]?.framesDecoded ?? 0, width: video[0]?.frameWidth, sources: video.length,
    sounds: audio[0]?.packetsReceived ?? 0, lost: video[0]?.packetsLost,
  };
};

const untilShown = async (page, what, good) => {
  const begun = performance.now();
  for (;;) {
    const shown = await page.evaluate(shownInPage);
    if (good(shown)) return shown;
    assert.ok(performance.now() - begun < 30_000, `no ${what}: ${JSON.stringify(shown)}`);
    await sleep(100);
  }
};

describe('WHIP and WHEP in a browser', { timeout: 180_000 }, () => {
  const on = stage();

  async function open(door, name, meeting, prepare, scripts = []) {
    const { media_server_url: url, session_token: token } = await on.appliance.join(meeting, name);
    const page = await on.chrome.page(on.bare.url, scripts);
    const given = { door: `${url.replace(/^ws/, 'http')}/${door}/${meeting.id ?? meeting}`, token, prepare: prepare.toString() };
    return [page, await page.evaluate(openInPage, given)];
  }

  /** Waits until the appliance says this of the camera that the viewer is sent. */
  async function untilSent(meeting, viewer, what, good) {
    for (const begun = performance.now(); ; await sleep(200)) {
      const sent = (await on.appliance.media(meeting, viewer.identity)).receives.find((track) => track.source === 'camera');
      if (good(sent)) return;
      assert.ok(performance.now() - begun < 20_000, `not ${what}: ${JSON.stringify(sent)}`);
    }
  }

  test('a player waits, then follows camera, screen and camera without a new source', async () => {
    const meeting = await on.appliance.createMeeting();
    const [player] = await open('whep', 'Player', meeting, receive);
    await until(player, 'a connection', () => window.session.peer.connectionState === 'connected');
    assert.equal((await player.evaluate(shownInPage)).frames, 0);
    const capture = { width: 640, height: 360, frameRate: 15 };
    const aoi = await on.join({ meeting, name: 'Aoi', capture, scripts: [noiseDevices()] });
    await untilShown(player, 'a camera', ({ frames, sounds }) => frames > 10 && sounds > 20);
    await aoi.evaluate(() => window.shareCanvas({ width: 960, height: 540, frameRate: 10, bitrate: 800_000 }));
    await untilShown(player, 'the screen', ({ width }) => width === 960);
    const { frames } = await player.evaluate(shownInPage);
    await untilShown(player, 'the screen in motion', (shown) => shown.frames > frames + 5);
    await aoi.evaluate(async () => {
      const { localParticipant } = window.__kaigi.room;
      const screen = [...localParticipant.trackPublications.values()].find((one) => one.source === 'screen_share');
      await localParticipant.unpublishTrack(screen.track);
    });
    await untilShown(player, 'the camera again', ({ width }) => width <= 640);
    const tag = await player.evaluate(restartInPage);
    assert.match(tag, /^".+"$/);
    const before = await player.evaluate(shownInPage);
    const after = await untilShown(player, 'the picture after an ICE restart', (shown) => shown.frames > before.frames + 30);
    assert.equal(after.sources, 1, 'one source for everything');
    console.log(JSON.stringify(after));
    assert.equal(await player.evaluate(closeInPage), 200);
    await Promise.all([player, aoi].map((page) => page.close()));
  });

  test('a publisher with layers is a participant of the SDK until it ends its session', async () => {
    const meeting = await on.appliance.createMeeting();
    const viewer = await on.join({ meeting, name: 'Viewer', audio: false, video: false });
    const [publisher, answer] = await open('whip', 'Encoder', meeting, sendLayers, [noiseDevices({ width: 960, height: 540 })]);
    assert.match(answer, /a=simulcast:recv q;h;f/);
    const isTop = ({ width }) => width === 960;
    const begun = performance.now();
    // Both links, the encoder's and the viewer's, must be known to carry it.
    const { frames } = await untilInbound(viewer, 'the top layer', 'video', isTop, { from: 'Encoder', timeoutMs: 45_000 });
    console.log(`the top layer after ${((performance.now() - begun) / 1000).toFixed(1)} s`);
    const goesOn = (one) => isTop(one) && one.frames > frames + 20;
    await untilInbound(viewer, 'the top layer in motion', 'video', goesOn, { from: 'Encoder', timeoutMs: 45_000 });
    await untilSent(meeting, viewer, 'the best of three layers', (sent) => sent?.layer === 2 && sent.layers_available === 3);
    await untilInbound(viewer, 'the sound', 'audio', (one) => one.packets > 20, { from: 'Encoder' });
    const sources = await viewer.evaluate(() => {
      const [encoder] = window.__kaigi.room.remoteParticipants.values();
      return [...encoder.trackPublications.values()].map(({ source }) => source).sort();
    });
    assert.deepEqual(sources, ['camera', 'microphone']);
    assert.equal(await publisher.evaluate(closeInPage), 200);
    await until(viewer, 'it to leave', () => window.__kaigi.room.remoteParticipants.size === 0);
    await Promise.all([viewer, publisher].map((page) => page.close()));
  });
});
