// The unmodified PyPI `livekit` (libwebrtc) with a browser: both publish, both receive.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';
import { describe, test } from 'node:test';
import { receivesFrom } from './lib/media.mjs';
import { PYTHON } from './lib/python.mjs';
import { stage } from './lib/stage.mjs';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** Starts the client; `says` answers its latest report. */
function pythonClient({ media_server_url: url, session_token: token }, seconds) {
  const child = spawn(PYTHON, [path.join(ROOT, 'tests/clients/livekit_client.py'), url, token, String(seconds)], { stdio: ['ignore', 'pipe', 'pipe'] });
  const client = { child, errors: '', last: null, exited: once(child, 'exit') };
  child.stderr.on('data', (chunk) => { client.errors = (client.errors + chunk).slice(-4_000); });
  readline.createInterface({ input: child.stdout }).on('line', (line) => { client.last = JSON.parse(line); });
  return client;
}

describe('the unmodified Python SDK', { timeout: 90_000 }, () => {
  const on = stage();

  test('publishes to and receives from a browser, over one connection', async (t) => {
    const meeting = await on.appliance.createMeeting();
    const python = pythonClient(await on.appliance.join(meeting, 'python'), 60);
    t.after(() => python.child.kill('SIGKILL'));
    const page = await on.join({ meeting, name: 'browser' });
    await receivesFrom(page, 1);
    const deadline = Date.now() + 30_000;
    const heard = () => Object.values(python.last?.received ?? {}).find((one) => one.name === 'browser');
    while (!(heard()?.frames > 20 && heard()?.loud > 0)) {
      assert.equal(python.child.exitCode, null, python.errors);
      assert.ok(Date.now() < deadline, `${JSON.stringify(python.last)}\n${python.errors}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const ready = [...await on.appliance.metrics()].filter(([key]) => key.startsWith('kaigi_peers_ready_total{'));
    const connections = ready.reduce((sum, [, value]) => sum + value, 0);
    assert.equal(connections, 2, 'one for each participant');
    console.log('Python received', JSON.stringify(heard()));
    python.child.kill('SIGTERM');
    await python.exited;
    await page.close();
  });
});
