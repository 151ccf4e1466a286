// What most browser tests stand on: started before the tests of a suite, ended after them, whatever failed.
import { after, before } from 'node:test';
import { Appliance } from './appliance.mjs';
import { chromium, firefox } from './browsers.mjs';
import { Relay } from './relay.mjs';
import { joinWithSdk } from './sdk.mjs';
import { serveBarePage } from './serve.mjs';

/**
 * Called inside `describe`: an appliance of one core, the bare page and Chromium; on request the impairment relay and Firefox. Its fields
 * are there from the suite's first test on.
 */
export function stage({ relay = false, fox = false } = {}) {
  const on = {
    /** Joins a meeting with the unmodified SDK, from Chromium unless told otherwise. */
    join: ({ browser = on.chrome, ...options }) => joinWithSdk({ appliance: on.appliance, bare: on.bare, browser, ...options }),
  };
  before(async () => {
    const keep = async (name, started) => { on[name] = await started; };
    await keep('appliance', Appliance.start(['--cores', '0']));
    await Promise.all([
      keep('bare', serveBarePage()), keep('chrome', chromium()),
      relay && keep('relay', Relay.start()), fox && keep('fox', firefox()),
    ]);
  });
  after(async () => {
    await Promise.allSettled([on.chrome?.close(), on.fox?.close()]);
    on.bare?.close();
    await on.relay?.stop();
    await on.appliance?.stop();
  });
  return on;
}
