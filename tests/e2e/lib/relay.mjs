// A bad network for one page: the relay process, and an init script that makes a page send to it instead of to the appliance.
//
//   const relay = await Relay.start();
//   const access = await relay.access(appliance, 'limited', { down: { rateKbps: 300, lossPercent: 5, delayMs: 80 } });
//   const page = await chrome.page(url, [routeThrough(access)]);
//
// An access leads to one core's port, so the appliance runs with `--cores 0`.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';
import readline from 'node:readline';
import { program } from './programs.mjs';

const PROGRAM = program('kaigi-relay');

/** The machine's own address: Firefox sends nothing to 127.0.0.1. */
const nicAddress = () =>
  Object.values(os.networkInterfaces()).flat().find((one) => one.family === 'IPv4' && !one.internal)?.address ?? '127.0.0.1';

const UNITS = {
  rateKbps: ['rate_bps', 1000],
  queueMs: ['queue_us_max', 1000],
  delayMs: ['delay_us', 1000],
  jitterMs: ['jitter_us', 1000],
  lossPercent: ['loss_ppm', 10_000],
  burstPercent: ['burst_ppm', 10_000],
  burstDatagrams: ['burst_datagrams', 1],
  reorderPercent: ['reorder_ppm', 10_000],
  reorderMs: ['reorder_us', 1000],
  duplicatePercent: ['duplicate_ppm', 10_000],
};

/** A link in the relay's own units. A rate without a queue gets one of 300 ms: about what access routers hold. */
function link(config) {
  const given = config.rateKbps === undefined ? config : { queueMs: 300, ...config };
  return Object.fromEntries(Object.entries(given).map(([key, value]) => {
    if (!UNITS[key]) throw new Error(`a link has no ${key}`);
    const [name, factor] = UNITS[key];
    return [name, Math.round(value * factor)];
  }));
}

const links = (config) => Object.fromEntries(Object.entries(config).map(([way, one]) => [way, link(one)]));

export class Relay {
  static async start() {
    const self = new Relay();
    self.child = spawn(PROGRAM, [], { stdio: ['pipe', 'pipe', 'inherit'] });
    self.exited = once(self.child, 'exit');
    await once(self.child, 'spawn');
    self.waiting = [];
    readline.createInterface({ input: self.child.stdout }).on('line', (line) => self.waiting.shift()?.(JSON.parse(line)));
    return self;
  }

  /** One line to the relay and its answer; they come in order. */
  async ask(request) {
    const answer = await new Promise((resolve, reject) => {
      this.waiting.push(resolve);
      this.child.stdin.write(`${JSON.stringify(request)}\n`, (error) => error && reject(error));
    });
    if (!answer.ok) throw new Error(`relay: ${answer.error}`);
    return answer;
  }

  /** Opens a person's way to the appliance; `config` as in `Access.set`. */
  async access(appliance, name, config = {}, seed = 1) {
    const listen = nicAddress();
    const { address } = await this.ask({
      do: 'add', name, listen, server: `${listen}:${appliance.udpPort}`, seed, ...links(config),
    });
    return new Access(this, name, address, appliance.udpPort);
  }

  async stop() {
    this.child.stdin.end();
    await this.exited;
  }
}

export class Access {
  constructor(relay, name, address, serverPort) {
    Object.assign(this, { relay, name, address, serverPort });
  }

  /** Changes one direction or both: `{up: {rateKbps, queueMs, delayMs, jitterMs, lossPercent, …}, down: {…}}`; `{}` is perfect. */
  set(config) {
    return this.relay.ask({ do: 'set', name: this.name, ...links(config) });
  }

  /** `{up, down, upstream}`: counts by direction, and the addresses the appliance sees. */
  counts() {
    return this.relay.ask({ do: 'counts', name: this.name });
  }

  /** New addresses towards the appliance, as after a NAT forgot its bindings. */
  rebind() {
    return this.relay.ask({ do: 'rebind', name: this.name });
  }

  /** Bits per second of each direction while `ms` pass: `offered` to the link and `delivered` by it. */
  async rates(ms) {
    const before = await this.counts();
    const start = performance.now();
    await new Promise((resolve) => setTimeout(resolve, ms));
    const after = await this.counts();
    const seconds = (performance.now() - start) / 1000;
    const per = (way, key) => ((after[way][key] - before[way][key]) * 8) / seconds;
    return Object.fromEntries(['up', 'down'].map((way) => [way, { offered: per(way, 'sent_bytes'), delivered: per(way, 'delivered_bytes') }]));
  }
}

/** Init script: of the appliance's candidates in descriptions and trickle only one is left, and it names the relay. */
export function routeThrough(access) {
  const at = access.address.lastIndexOf(':');
  const given = { ip: access.address.slice(0, at), port: Number(access.address.slice(at + 1)), serverPort: access.serverPort };
  return `(${inPage})(${JSON.stringify(given)})`;
}

function inPage({ ip, port, serverPort }) {
  window.__relayed = 0;
  /** The candidate as the relay's; null for one that would bypass it. */
  const rewrite = (candidate) => {
    const parts = candidate.split(' ');
    if (Number(parts[5]) !== serverPort || parts[2].toLowerCase() !== 'udp') return null;
    window.__relayed++;
    return [...parts.slice(0, 4), ip, port, ...parts.slice(6)].join(' ');
  };
  const description = (sdp) => {
    let kept = false;
    return sdp.split('\r\n').flatMap((line) => {
      if (line.startsWith('m=')) kept = false;
      if (!line.startsWith('a=candidate:')) return [line];
      const candidate = kept ? null : rewrite(line);
      kept ||= candidate !== null;
      return candidate === null ? [] : [candidate];
    }).join('\r\n');
  };
  const { prototype } = RTCPeerConnection;
  const { setRemoteDescription, addIceCandidate } = prototype;
  prototype.setRemoteDescription = function (given, ...rest) {
    return setRemoteDescription.call(this, given?.sdp ? { type: given.type, sdp: description(given.sdp) } : given, ...rest);
  };
  prototype.addIceCandidate = function (given, ...rest) {
    if (!given?.candidate) return addIceCandidate.call(this, given, ...rest);
    const candidate = rewrite(given.candidate);
    if (candidate === null) return Promise.resolve();
    const { sdpMid, sdpMLineIndex, usernameFragment } = given;
    return addIceCandidate.call(this, { candidate, sdpMid, sdpMLineIndex, usernameFragment }, ...rest);
  };
}
