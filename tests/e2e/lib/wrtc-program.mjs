// A program: a WHIP publisher or a WHEP player on `@roamhq/wrtc`, libwebrtc in Node with its codecs. `wrtc.mjs` starts it.
//
// Usage: node wrtc-program.mjs '{"at", "token", "width", "height"}'; with a size it publishes, without it plays. A line of JSON says five
// times a second what came; it ends its session when its standard input closes.
import wrtc from '@roamhq/wrtc';
import { HttpSession } from './http-session.mjs';

const { RTCAudioSink, RTCAudioSource, RTCVideoSink, RTCVideoSource } = wrtc.nonstandard;
const FRAMES_PER_SECOND = 15;
const SAMPLE_RATE = 48_000;
/** Samples of 10 ms: what libwebrtc takes at a time. */
const SAMPLES = SAMPLE_RATE / 100;
/** Louder than noise of a codec: 5 % of full scale. */
const LOUD = 1_600;

const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

/** A picture in which a bar moves. */
function sendBar(source, { width, height }) {
  const data = new Uint8ClampedArray(width * height * 3 / 2).fill(128);
  let frames = 0;
  setInterval(() => {
    const bar = (frames++ * 8) % width;
    for (let row = 0; row < height; row++) {
      data.fill(64, row * width, (row + 1) * width);
      data.fill(220, row * width + bar, row * width + Math.min(bar + 32, width));
    }
    source.onFrame({ width, height, data });
  }, 1000 / FRAMES_PER_SECOND);
}

/** A tone. Timers are late on a busy machine: as much of it as time has passed. */
function sendTone(source) {
  const begun = performance.now();
  let sent = 0;
  setInterval(() => {
    for (const due = (performance.now() - begun) / 10; sent < due; sent++) {
      const samples = Int16Array.from({ length: SAMPLES }, (_, at) => 10_000 * Math.sin(2 * Math.PI * 440 * (sent * SAMPLES + at) / SAMPLE_RATE));
      source.onData({ samples, sampleRate: SAMPLE_RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: SAMPLES });
    }
  }, 10);
}

const seen = { frames: 0, width: 0, height: 0, loudSamples: 0 };
const sinks = [];

/** Counts decoded frames, and samples of sound that are no silence. */
function watch(track) {
  const sink = track.kind === 'video' ? new RTCVideoSink(track) : new RTCAudioSink(track);
  sink.onframe = ({ frame: { width, height } }) => Object.assign(seen, { frames: seen.frames + 1, width, height });
  sink.ondata = ({ samples, channelCount }) => {
    for (let at = 0; at < samples.length; at += channelCount) seen.loudSamples += Number(Math.abs(samples[at]) > LOUD);
  };
  sinks.push(sink);
}

const given = JSON.parse(process.argv[2]);
const peer = new wrtc.RTCPeerConnection();
if (given.width) {
  const [audio, video] = [new RTCAudioSource(), new RTCVideoSource()];
  for (const source of [audio, video]) peer.addTransceiver(source.createTrack(), { direction: 'sendonly' });
  sendBar(video, given);
  sendTone(audio);
} else {
  peer.ontrack = ({ track }) => watch(track);
  for (const kind of ['audio', 'video']) peer.addTransceiver(kind, { direction: 'recvonly' });
}
await peer.setLocalDescription(await peer.createOffer());
await new Promise((resolve) => {
  if (peer.iceGatheringState === 'complete') resolve();
  peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && resolve();
});
const session = await HttpSession.open(given, peer.localDescription.sdp);
await peer.setRemoteDescription({ type: 'answer', sdp: session.answer });
tell(seen);
setInterval(() => tell(seen), 200);

for await (const _ of process.stdin);
tell({ closed: await session.close() });
for (const sink of sinks) sink.stop();
peer.close();
// Its destructors crash a process that ends by itself.
process.exit(0);
