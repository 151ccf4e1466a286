// A camera and a microphone worth sending: the browsers' own fake camera compresses to nothing.
//
// Init script: `getUserMedia` answers a canvas of coloured cells that change all the time, which fills the bit rate the encoder
// is given, and a steady voice-like tone, which leaves no silence to hide a lost packet in. Each page has its own, where Chromium's
// fake camera is one for all pages: when two of them open it anew at the same moment, it sometimes delivers no frame from then on.
// `window.devices` makes further ones.

export function noiseDevices({ width = 640, height = 360, fps = 15 } = {}) {
  return `(${inPage})(${JSON.stringify({ width, height, fps })})`;
}

function inPage(camera) {
  // Cells of a macroblock, of which a share changes with every frame: as much as VP8 gets into 450 kbit/s without dropping frames.
  const [CELL, SHARE] = [16, 4];
  const noiseTrack = ({ width, height, fps }) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const paint = canvas.getContext('2d', { alpha: false });
    paint.imageSmoothingEnabled = false;
    const cells = Object.assign(document.createElement('canvas'), { width: Math.ceil(width / CELL), height: Math.ceil(height / CELL) });
    const small = cells.getContext('2d');
    const image = small.createImageData(cells.width, cells.height);
    const stream = canvas.captureStream(0);
    const track = stream.getVideoTracks()[0];
    // Chromium has it on the track, Firefox on the stream.
    const frame = track.requestFrame ? track : stream;
    let state = 1, count = 0;
    const draw = () => {
      for (let at = 0; at < image.data.length; at++) {
        if (count > 0 && (at >> 2) % SHARE !== count % SHARE) continue;
        // The 32-bit generator of Numerical Recipes: cheap, and the same picture in every run.
        state = (Math.imul(state, 1664525) + 1013904223) | 0;
        image.data[at] = at % 4 === 3 ? 255 : 96 + (state >>> 26);
      }
      small.putImageData(image, 0, 0);
      paint.drawImage(cells, 0, 0, width, height);
      paint.fillStyle = '#fff';
      paint.font = '32px sans-serif';
      paint.fillText(String(count++), 20, height - 20);
      paint.fillRect((count * 9) % width, height / 2, 60, 60);
      frame.requestFrame();
    };
    const timer = setInterval(draw, 1000 / fps);
    const stop = track.stop.bind(track);
    track.stop = () => { clearInterval(timer); stop(); };
    draw();
    return track;
  };
  const toneTrack = () => {
    const audio = new AudioContext();
    const out = audio.createMediaStreamDestination();
    const gain = new GainNode(audio, { gain: 0.3 });
    for (const [frequency, level] of [[180, 1], [720, 0.5], [1900, 0.25]]) {
      const tone = new OscillatorNode(audio, { frequency });
      tone.connect(new GainNode(audio, { gain: level })).connect(gain);
      tone.start();
    }
    gain.connect(out);
    void audio.resume();
    return out.stream.getAudioTracks()[0];
  };
  window.devices = { video: noiseTrack, tone: toneTrack };
  navigator.mediaDevices.getUserMedia = async ({ audio, video }) =>
    new MediaStream([...(video ? [noiseTrack(camera)] : []), ...(audio ? [toneTrack()] : [])]);
}
