// Probes of latency: pictures that carry the time they were drawn, bursts of sound whose starts both ends note. Init script of a page:
// `window.probes` makes such tracks and measures received ones. Times are milliseconds of one machine's clock.

export function probesInPage() {
  // A stamp is 24 bits of milliseconds and 8 bits of checksum, two rows of 16 cells at the top left; large cells survive the encoder.
  const [COLUMNS, ROWS, CELL, MODULUS] = [16, 2, 24, 1 << 24];
  const checksum = (stamp) => ((stamp & 255) ^ ((stamp >> 8) & 255) ^ ((stamp >> 16) & 255) ^ 0xa5) & 255;
  const clock = () => performance.timeOrigin + performance.now();

  const stampedTrack = ({ width = 640, height = 360, fps = 30 } = {}) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const paint = canvas.getContext('2d', { alpha: false });
    const track = canvas.captureStream(0).getVideoTracks()[0];
    let count = 0;
    const draw = () => {
      paint.fillStyle = `hsl(${(count * 3) % 360} 60% 50%)`;
      paint.fillRect(0, 0, width, height);
      paint.fillStyle = '#fff';
      paint.fillRect((count++ * 7) % width, height * 0.6, width / 8, height / 4);
      const stamp = Math.floor(clock()) % MODULUS;
      const bits = stamp * 256 + checksum(stamp);
      for (let bit = 0; bit < 32; bit++) {
        paint.fillStyle = Math.floor(bits / 2 ** (31 - bit)) % 2 ? '#fff' : '#000';
        paint.fillRect((bit % COLUMNS) * CELL, Math.floor(bit / COLUMNS) * CELL, CELL, CELL);
      }
      track.requestFrame();
    };
    setInterval(draw, 1000 / fps);
    return track;
  };

  const watched = [], listened = [];

  /** Shows a track and reads every frame's stamp: `{samples: [{shownMs, receivedMs}], unread}`. */
  const watch = (track) => {
    const result = { samples: [], unread: 0 };
    watched.push(result);
    const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true, playsInline: true, srcObject: new MediaStream([track]) });
    document.body.append(video);
    const canvas = Object.assign(document.createElement('canvas'), { width: COLUMNS, height: ROWS });
    const paint = canvas.getContext('2d', { willReadFrequently: true });
    let last = -1;
    const read = (now, { receiveTime }) => {
      const at = clock();
      const cell = (CELL * video.videoWidth) / 640;
      for (let row = 0; row < ROWS; row++) {
        for (let column = 0; column < COLUMNS; column++) {
          paint.drawImage(video, (column + 0.25) * cell, (row + 0.25) * cell, cell / 2, cell / 2, column, row, 1, 1);
        }
      }
      const { data } = paint.getImageData(0, 0, COLUMNS, ROWS);
      let bits = 0;
      for (let bit = 0; bit < 32; bit++) bits = bits * 2 + (data[bit * 4 + 1] > 127 ? 1 : 0);
      const stamp = Math.floor(bits / 256);
      const since = (time) => {
        const ms = (time % MODULUS) - stamp;
        return ms < -MODULUS / 2 ? ms + MODULUS : ms;
      };
      if (checksum(stamp) !== bits % 256) result.unread++;
      else if (stamp !== last) {
        last = stamp;
        result.samples.push({ shownMs: since(at), receivedMs: receiveTime === undefined ? null : since(performance.timeOrigin + receiveTime) });
      }
      video.requestVideoFrameCallback(read);
    };
    video.requestVideoFrameCallback(read);
    return result;
  };

  // A burst of 40 ms each 700 ms; one counts as heard when 200 ms of silence came before it.
  const WORKLET = `
    registerProcessor('burst-source', class extends AudioWorkletProcessor {
      constructor() { super(); this.count = 0; this.period = Math.round(sampleRate * 0.7); this.length = Math.round(sampleRate * 0.04); }
      process(inputs, [[out]]) {
        for (let at = 0; at < out.length; at++, this.count++) {
          const phase = this.count % this.period;
          if (phase === 0) this.port.postMessage(Date.now() + (at / sampleRate) * 1000);
          out[at] = phase < this.length ? 0.7 * Math.sin((2 * Math.PI * 1000 * phase) / sampleRate) : 0;
        }
        return true;
      }
    });
    registerProcessor('burst-sink', class extends AudioWorkletProcessor {
      constructor() { super(); this.quiet = Infinity; }
      process([[heard]]) {
        for (let at = 0; at < (heard?.length ?? 0); at++) {
          if (Math.abs(heard[at]) <= 0.15) { this.quiet++; continue; }
          if (this.quiet > sampleRate * 0.2) this.port.postMessage(Date.now() + (at / sampleRate) * 1000);
          this.quiet = 0;
        }
        return true;
      }
    });`;

  const audioContext = async () => {
    const audio = new AudioContext({ sampleRate: 48_000, latencyHint: 'interactive' });
    await audio.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], { type: 'text/javascript' })));
    await audio.resume();
    return audio;
  };

  const burstsSent = [];
  const burstTrack = async () => {
    const audio = await audioContext();
    const source = new AudioWorkletNode(audio, 'burst-source', { numberOfInputs: 0, outputChannelCount: [1] });
    source.port.onmessage = ({ data }) => burstsSent.push(data);
    const out = new MediaStreamAudioDestinationNode(audio, { channelCount: 1 });
    source.connect(out);
    return out.stream.getAudioTracks()[0];
  };

  /** Plays a track and notes when each burst was heard: a promise of `{heard}`. */
  const listen = async (track) => {
    const audio = await audioContext();
    const stream = new MediaStream([track]);
    // A received track that nobody plays builds a backlog.
    const element = Object.assign(document.createElement('audio'), { muted: true, autoplay: true, srcObject: stream });
    document.body.append(element);
    const sink = new AudioWorkletNode(audio, 'burst-sink', { numberOfOutputs: 0 });
    const result = { heard: [], keep: [audio, element, sink] };
    sink.port.onmessage = ({ data }) => result.heard.push(data);
    audio.createMediaStreamSource(stream).connect(sink);
    listened.push(result);
    return result;
  };

  /** Forgets what was measured so far. */
  const restart = () => {
    for (const one of watched) Object.assign(one, { samples: [], unread: 0 });
    for (const one of listened) one.heard = [];
  };

  const gathered = (peer) => new Promise((resolve) => {
    const check = () => peer.iceGatheringState === 'complete' && resolve(peer.localDescription.sdp);
    peer.addEventListener('icegatheringstatechange', check);
    check();
  });

  window.probes = { stampedTrack, watch, burstTrack, burstsSent, listen, restart, gathered };
}
