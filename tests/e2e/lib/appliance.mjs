// The appliance under test: the real binary on free ports with a data directory of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import dgram from 'node:dgram';
import { program } from './programs.mjs';

const BIN = program('kaigid');

const freeTcpPort = async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
};

/** First of `count` consecutive UDP ports that are free now. */
const freeUdpPorts = async (count) => {
  const isFree = (port) =>
    new Promise((resolve) => {
      const socket = dgram.createSocket('udp4');
      socket.once('error', () => resolve(false));
      socket.bind(port, '0.0.0.0', () => socket.close(() => resolve(true)));
    });
  for (let tries = 0; tries < 100; tries++) {
    const first = 20000 + Math.floor(Math.random() * 20000);
    const free = await Promise.all(Array.from({ length: count }, (_, index) => isFree(first + index)));
    if (free.every(Boolean)) return first;
  }
  throw new Error('no free UDP ports');
};

export class Appliance {
  /**
   * Starts the appliance and waits until it answers /readyz. `args` are added to `kaigid serve --demo` (without `--demo` unless `demo`);
   * `host` is where it is asked, and `launcher` a program that starts it.
   */
  static async start(args = [], { port, udpPort, data, host = 'localhost', launcher, demo = true } = {}) {
    const self = new Appliance();
    self.port = port ?? (await freeTcpPort());
    self.udpPort = udpPort ?? (await freeUdpPorts(4));
    self.data = data ?? fs.mkdtempSync(path.join(os.tmpdir(), 'kaigi-e2e-'));
    self.args = demo ? ['--demo', ...args] : args;
    self.launcher = launcher;
    self.listen = host.startsWith('[') ? '[::]' : '0.0.0.0';
    self.url = `http://${host}:${self.port}`;
    self.log = '';
    await self.spawn();
    return self;
  }

  async spawn() {
    this.tcpPort = await freeTcpPort();
    const args = ['serve', '--data', this.data, '--listen', `${this.listen}:${this.port}`,
      '--udp-port', String(this.udpPort), '--tcp-port', String(this.tcpPort), ...this.args];
    const [program, ...rest] = [...(this.launcher ? [this.launcher] : []), BIN, ...args];
    this.child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.exited = once(this.child, 'exit');
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on('data', (chunk) => {
        this.log = (this.log + chunk).slice(-200_000);
        if (process.env.KAIGI_E2E_LOG) process.stderr.write(chunk);
      });
    }
    const deadline = Date.now() + 20_000;
    for (;;) {
      if (this.child.exitCode !== null) throw new Error(`kaigid ended with ${this.child.exitCode}:\n${this.log}`);
      const ready = await fetch(`${this.url}/readyz`).then((answer) => answer.ok, () => false);
      if (ready) return;
      if (Date.now() > deadline) throw new Error(`kaigid is not ready after 20 s:\n${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** kill -9, then the same data directory and ports again. */
  async crashAndRestart() {
    this.child.kill('SIGKILL');
    await this.exited;
    await this.spawn();
  }

  /** SIGTERM; answers the exit status. The data directory goes too. */
  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGTERM');
      const timer = setTimeout(() => this.child.kill('SIGKILL'), 15_000);
      await this.exited;
      clearTimeout(timer);
    }
    fs.rmSync(this.data, { recursive: true, force: true });
    return this.child.exitCode;
  }

  async api(method, route, body, token) {
    const answer = await fetch(`${this.url}/api/v1${route}`, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token ? { authorization: `Bearer ${token}` } : {}),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${route}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** Creates a meeting: `{id, join_url, host_token, path}`. */
  async createMeeting(topic = 'Browser test') {
    const meeting = await this.api('POST', '/meetings', {
      topic, start_time: new Date().toISOString(), duration: 60, recording_enabled: false,
    });
    return { ...meeting, path: new URL(meeting.join_url).pathname };
  }

  /** `{media_server_url, session_token}` of a new guest. */
  join(meeting, name) {
    return this.api('POST', `/meetings/${meeting.id}/join`, { name });
  }

  /** What a participant is sent, and why it is not more. */
  media(meeting, identity) {
    return this.api('GET', `/meetings/${meeting.id}/participants/${identity}/media`, undefined, meeting.host_token);
  }

  /** Metrics as `Map<name{labels}, number>`. */
  async metrics() {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    return new Map(text.split('\n').filter((line) => line && !line.startsWith('#')).map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }));
  }

  /** Values of one per-core counter, by core. */
  async perCore(name) {
    const values = {};
    for (const [key, value] of await this.metrics()) {
      const core = key.startsWith(`${name}{`) && /core="(\d+)"/.exec(key);
      if (core) values[core[1]] = (values[core[1]] ?? 0) + value;
    }
    return values;
  }
}
