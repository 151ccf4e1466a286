// How old picture and sound are when they are shown: through the appliance, and from peer to peer in the same pages at the same time.
//
// Pictures carry the moment they were drawn as a row of black and white cells; sounds are bursts whose starts both ends note. Both ends run
// in one machine, so both read one clock.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { until } from './lib/browsers.mjs';
import { probesInPage } from './lib/probes.mjs';
import { stage } from './lib/stage.mjs';
import { sleep } from './lib/streams.mjs';

const MEASURE_MS = 10_000;

const percentile = (values, share) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))];
const shown = (values) => `p50 ${percentile(values, 0.5).toFixed(0)} ms, p95 ${percentile(values, 0.95).toFixed(0)} ms (${values.length})`;

describe('latency', { timeout: 120_000 }, () => {
  const on = stage();

  test('picture and sound through the appliance and from peer to peer', async () => {
    const meeting = await on.appliance.createMeeting();
    const scripts = [`(${probesInPage})()`];
    const join = (name) => on.join({ meeting, name, audio: false, video: false, scripts });
    const [sender, receiver] = [await join('Sender'), await join('Receiver')];

    // Through the appliance: a single layer, as a peer-to-peer connection has.
    await sender.evaluate(async () => {
      const { localParticipant } = window.__kaigi.room;
      window.burst = await window.probes.burstTrack();
      const options = { simulcast: false, videoEncoding: { maxBitrate: 800_000, maxFramerate: 30 } };
      await localParticipant.publishTrack(window.probes.stampedTrack(), { source: 'camera', ...options });
      await localParticipant.publishTrack(window.burst, { source: 'microphone', dtx: false, red: false });
    });
    await until(receiver, 'both tracks', () => {
      const [one] = window.__kaigi.room.remoteParticipants.values();
      const received = [...(one?.trackPublications.values() ?? [])].map((publication) => publication.track).filter(Boolean);
      if (received.length < 2) return false;
      for (const { receiver } of received) receiver.jitterBufferTarget = 0;
      const tracks = received.map((track) => track.mediaStreamTrack);
      window.served = { video: window.probes.watch(tracks.find((track) => track.kind === 'video')), audio: window.probes.listen(tracks.find((track) => track.kind === 'audio')) };
      return true;
    });
    await sleep(3000);

    // Peer to peer: the same sources at the same moment.
    const offer = await sender.evaluate(async () => {
      const peer = (window.peer = new RTCPeerConnection());
      for (const track of [window.probes.stampedTrack(), window.burst]) peer.addTrack(track, new MediaStream());
      await peer.setLocalDescription();
      return window.probes.gathered(peer);
    });
    const answer = await receiver.evaluate(async (sdp) => {
      const peer = (window.peer = new RTCPeerConnection());
      window.direct = {};
      peer.ontrack = ({ track, receiver }) => {
        receiver.jitterBufferTarget = 0;
        if (track.kind === 'video') window.direct.video = window.probes.watch(track);
        else window.direct.audio = window.probes.listen(track);
      };
      await peer.setRemoteDescription({ type: 'offer', sdp });
      await peer.setLocalDescription();
      return window.probes.gathered(peer);
    }, offer);
    await sender.evaluate(async (sdp) => {
      await window.peer.setRemoteDescription({ type: 'answer', sdp });
      const [video] = window.peer.getSenders();
      const parameters = video.getParameters();
      parameters.encodings[0].maxBitrate = 800_000;
      await video.setParameters(parameters);
    }, answer);
    await until(receiver, 'pictures and sound on both ways', () => [window.served, window.direct].every((way) => way?.video?.samples.length > 5 && way?.audio), undefined, 20_000);
    await sleep(3000);

    await receiver.evaluate(() => window.probes.restart());
    await sleep(MEASURE_MS);
    const sent = await sender.evaluate(() => window.probes.burstsSent);
    const ways = await receiver.evaluate(async () => {
      const read = async (way) => ({ frames: way.video.samples, unread: way.video.unread, heard: (await way.audio).heard });
      return { 'through the appliance': await read(window.served), 'peer to peer': await read(window.direct) };
    });
    const medians = {};
    for (const [name, { frames, unread, heard }] of Object.entries(ways)) {
      const sounds = heard.map((at) => at - Math.max(...sent.filter((start) => start <= at + 1))).filter((ms) => ms < 600);
      const [toShown, toReceived] = [frames.map((one) => one.shownMs), frames.map((one) => one.receivedMs).filter((ms) => ms !== null)];
      assert.ok(frames.length > 100 && toReceived.length > 100, `${name}: ${frames.length} frames read, ${unread} not`);
      assert.ok(sounds.length > 5, `${name}: ${sounds.length} bursts heard`);
      console.log(`${name.padEnd(22)}: drawn to shown ${shown(toShown)}, drawn to last packet received ${shown(toReceived)}, sound ${shown(sounds)}`);
      medians[name] = { shown: percentile(toShown, 0.5), received: percentile(toReceived, 0.5), sound: percentile(sounds, 0.5) };
    }
    const [served, direct] = Object.values(medians);
    for (const what of Object.keys(served)) {
      const added = served[what] - direct[what];
      console.log(`the appliance adds ${added.toFixed(1)} ms: ${what}`);
      assert.ok(Math.abs(added) < 1000, `${what}: ${added} ms`);
    }
    await Promise.all([sender.close(), receiver.close()]);
  });
});
