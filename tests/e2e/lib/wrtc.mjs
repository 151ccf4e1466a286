// A WHIP publisher or WHEP player on `@roamhq/wrtc`, each in a process of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';
import { invitation } from './http-session.mjs';

const PROGRAM = path.join(import.meta.dirname, 'wrtc-program.mjs');

export class NativeClient {
  /** Publishes a picture of this size and a tone; answers once the session has begun. */
  static async publish(appliance, meeting, name, { width, height }) {
    return NativeClient.start({ ...await invitation(appliance, meeting, name, 'whip'), width, height });
  }

  /** Plays; answers once the session has begun. */
  static async play(appliance, meeting, name) {
    return NativeClient.start(await invitation(appliance, meeting, name, 'whep'));
  }

  static async start(given) {
    const self = new NativeClient();
    self.child = spawn(process.execPath, [PROGRAM, JSON.stringify(given)], { stdio: ['pipe', 'pipe', 'pipe'] });
    self.errors = '';
    self.child.stderr.on('data', (chunk) => { self.errors = (self.errors + chunk).slice(-4_000); });
    self.exited = once(self.child, 'exit');
    await new Promise((resolve, reject) => {
      readline.createInterface({ input: self.child.stdout }).on('line', (line) => { self.last = JSON.parse(line); resolve(); });
      self.exited.then(([status, signal]) => reject(new Error(`@roamhq/wrtc ended with ${status ?? signal}: ${self.errors}`)));
    });
    return self;
  }

  /** What it was sent: decoded `frames` and their size, and `loudSamples` that are no silence. */
  get seen() {
    return this.last;
  }

  /** Ends its session; the status. */
  async close() {
    this.child.stdin.end();
    const timer = setTimeout(() => this.kill(), 10_000);
    await this.exited;
    clearTimeout(timer);
    return this.last.closed;
  }

  kill() {
    this.child.kill('SIGKILL');
  }
}
