// Participants with the LiveKit Python SDK, from the environment that tools/setup.sh makes.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';

const ROOT = path.resolve(import.meta.dirname, '../../..');
/** The Python that has the clients' packages. */
export const PYTHON = process.env.KAIGI_CLIENTS ?? path.join(ROOT, 'target/clients-venv/bin/python');

/** A running `tests/clients/data_client.py`: one line asks, one line answers. */
export class PythonClient {
  static async join(appliance, meeting, name) {
    const { media_server_url: url, session_token: token } = await appliance.join(meeting, name);
    const self = new PythonClient();
    const script = path.join(ROOT, 'tests/clients/data_client.py');
    self.child = spawn(PYTHON, [script, url, token], { stdio: ['pipe', 'pipe', process.env.KAIGI_E2E_LOG ? 'inherit' : 'ignore'] });
    self.exited = once(self.child, 'exit');
    self.waiting = [];
    self.exited.then(([status]) => self.waiting.splice(0).forEach(({ reject }) => reject(new Error(`the Python client ended with ${status}`))));
    readline.createInterface({ input: self.child.stdout }).on('line', (line) => self.waiting.shift()?.resolve(JSON.parse(line)));
    self.identity = (await self.answer()).identity;
    assert.ok(self.identity);
    return self;
  }

  answer() {
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  ask(line) {
    const answer = this.answer();
    this.child.stdin.write(`${line}\n`);
    return answer;
  }

  async leave() {
    this.child.stdin.end('quit\n');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await this.exited;
    clearTimeout(timer);
  }
}
