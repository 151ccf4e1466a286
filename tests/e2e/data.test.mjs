// Data packets between the unmodified livekit-client in Chromium and the LiveKit Python SDK, on a lossy path, under a flood, across resumes.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { until } from './lib/browsers.mjs';
import { PythonClient } from './lib/python.mjs';
import { routeThrough } from './lib/relay.mjs';
import { stage } from './lib/stage.mjs';
import { sleep } from './lib/streams.mjs';

/** Messages of each kind in each direction. */
const COUNT = Number(process.env.KAIGI_DATA_MESSAGES ?? 1000);
/** How often the signal connection is cut. */
const CUTS = Number(process.env.KAIGI_DATA_CUTS ?? 5);
/** One of each kind every so often: 500 messages a second, half of what one participant may say. */
const EVERY_MS = 4;

const silent = { audio: false, video: false };

/** Init script: `say` and `heard` as the Python client has them. */
const talk = `(${() => {
  window.listen = () => {
    window.heardNow = [];
    window.__kaigi.room.on('dataReceived', (bytes, sender, _kind, topic) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      window.heardNow.push([topic, view.getUint32(0, true), Date.now() - view.getFloat64(4, true), sender?.identity ?? null]);
    });
  };
  const message = (number, bytes = 12) => {
    const data = new Uint8Array(bytes);
    const view = new DataView(data.buffer);
    view.setUint32(0, number, true);
    view.setFloat64(4, Date.now(), true);
    return data;
  };
  window.say = async (count, everyMs, topics) => {
    const { localParticipant } = window.__kaigi.room;
    const start = performance.now();
    for (let number = 0; number < count; number++) {
      for (const topic of topics) await localParticipant.publishData(message(number), { reliable: topic !== 'lossy', topic });
      const due = start + (number + 1) * everyMs;
      if (due > performance.now()) await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
    }
  };
  window.flood = async (ms, bytes) => {
    const { localParticipant } = window.__kaigi.room;
    const end = performance.now() + ms;
    let count = 0;
    while (performance.now() < end) {
      // Waits when its own buffer is full; the wait must not outlast the flood.
      const said = localParticipant.publishData(message(count, bytes), { reliable: true, topic: 'flood' });
      const over = new Promise((resolve) => setTimeout(resolve, Math.max(0, end - performance.now())));
      await Promise.race([said, over]);
      count++;
    }
    return count;
  };
}})()`;

async function join(on, meeting, name, scripts = []) {
  const page = await on.join({ meeting, name, ...silent, scripts: [talk, ...scripts] });
  await page.evaluate(() => window.listen());
  return page;
}

const heardBy = async (who) => (who instanceof PythonClient ? (await who.ask('heard')).heard : who.evaluate(() => window.heardNow.splice(0)));
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const numbers = (heard, topic) => heard.filter(([of]) => of === topic).map(([, number]) => number);
const delays = (heard, topic) => heard.filter(([of]) => of === topic).map(([, , delay]) => delay);

/** Collects what is heard until `done` says so or nothing more can come. */
async function collect(who, heard, done, ms = 30_000) {
  const deadline = Date.now() + ms;
  for (;;) {
    heard.push(...await heardBy(who));
    if (done(heard)) return heard;
    if (Date.now() > deadline) return heard;
    await sleep(100);
  }
}

describe('data packets', { timeout: 300_000 + COUNT * 20 }, () => {
  const on = stage({ relay: true });

  test('reliable ones arrive all and in order, lossy ones do not wait for them, between both SDKs on a lossy path', async () => {
    const meeting = await on.appliance.createMeeting();
    const access = await on.relay.access(on.appliance, 'data', { up: { lossPercent: 2, delayMs: 10 }, down: { lossPercent: 2, delayMs: 10 } });
    const aoi = await join(on, meeting, 'Aoi', [routeThrough(access)]);
    const python = await PythonClient.join(on.appliance, meeting, 'Python');
    await until(aoi, 'each other', () => window.__kaigi.room.remoteParticipants.size === 1);
    await Promise.all([
      aoi.evaluate(([count, every]) => window.say(count, every, ['reliable', 'lossy']), [COUNT, EVERY_MS]),
      python.ask(`send ${COUNT} ${EVERY_MS}`),
    ]);
    const expected = Array.from({ length: COUNT }, (_, number) => number);
    for (const [name, who, sender] of [['livekit-client', aoi, python.identity], ['Python', python, aoi.identity]]) {
      const heard = await collect(who, [], (all) => numbers(all, 'reliable').length >= COUNT);
      assert.deepEqual(numbers(heard, 'reliable'), expected, `${name} hears all reliable messages in order, once`);
      const lossy = numbers(heard, 'lossy');
      assert.equal(new Set(lossy).size, lossy.length, 'none twice');
      // The path loses one in fifty; on a busy machine the senders' own buffers fill, and they drop more.
      assert.ok(lossy.length > COUNT * 0.5 && lossy.length <= COUNT, `${name} hears ${lossy.length} of ${COUNT} lossy messages`);
      assert.ok(heard.every((one) => one[3] === sender), 'the sender is the one who sent');
      let next = 0, overtaken = 0;
      for (const [topic, number] of heard) {
        if (topic === 'reliable') next = number + 1;
        else if (number > next + 1) overtaken++;
      }
      console.log(`${name}: ${lossy.length} of ${COUNT} lossy, ${overtaken} of them before reliable ones of their time; median delay`
        + ` ${median(delays(heard, 'reliable')).toFixed(1)} ms reliable, ${median(delays(heard, 'lossy')).toFixed(1)} ms lossy`);
      assert.ok(overtaken > 0, 'lossy messages do not wait behind lost reliable ones');
    }
    await Promise.all([aoi.close(), python.leave()]);
  });

  test('a flooding sender is slowed down, and the delivery of the others is not', async () => {
    const meeting = await on.appliance.createMeeting();
    const [aoi, flooder] = [await join(on, meeting, 'Aoi'), await join(on, meeting, 'Flooder')];
    const python = await PythonClient.join(on.appliance, meeting, 'Python');
    await until(aoi, 'the others', () => window.__kaigi.room.remoteParticipants.size === 2);
    const pings = async (count) => {
      await aoi.evaluate((given) => window.say(given, 20, ['ping']), count);
      const heard = await collect(python, [], (all) => numbers(all, 'ping').length >= count);
      assert.equal(numbers(heard, 'ping').length, count);
      return heard;
    };
    const quiet = median(delays(await pings(100), 'ping'));
    const seconds = 6, bytes = 14_000;
    const start = Date.now();
    const flooding = flooder.evaluate(([ms, size]) => window.flood(ms, size), [seconds * 1000, bytes]);
    await sleep(500);
    const heard = await pings(200);
    const flooded = median(delays(heard, 'ping'));
    const tried = await flooding;
    heard.push(...await heardBy(python));
    const elapsed = (Date.now() - start) / 1000;
    const passed = (numbers(heard, 'flood').length * bytes) / 1024;
    console.log(`median delivery ${quiet.toFixed(1)} ms quiet, ${flooded.toFixed(1)} ms under a flood, of which ${passed.toFixed(0)} KiB`
      + ` of ${((tried * bytes) / 1024).toFixed(0)} came in ${elapsed.toFixed(1)} s`);
    // 128 KiB at once, 512 KiB a second.
    const allowed = 128 + 512 * elapsed;
    assert.ok(passed > 1024, `${passed} KiB: a flood`);
    assert.ok(passed < allowed * 1.05, `${passed} KiB of ${allowed} allowed`);
    assert.ok((tried * bytes) / 1024 > passed, 'the rest waits with its sender');
    // Without a bound on the flooder its queue alone is seconds long.
    assert.ok(flooded < Math.max(1_000, quiet * 10), `${flooded} ms instead of ${quiet} ms`);
    await Promise.all([aoi.close(), flooder.close(), python.leave()]);
  });

  test('no message is lost or heard twice while the signal connection is cut again and again', async () => {
    const meeting = await on.appliance.createMeeting();
    const aoi = await join(on, meeting, 'Aoi');
    const python = await PythonClient.join(on.appliance, meeting, 'Python');
    await until(aoi, 'each other', () => window.__kaigi.room.remoteParticipants.size === 1);
    const count = CUTS * 100;
    const saying = Promise.all([
      aoi.evaluate((given) => window.say(given, 15, ['reliable']), count),
      python.ask(`ping ${count} 15`),
    ]);
    await sleep(300);
    for (let cut = 0; cut < CUTS; cut++) {
      await aoi.evaluate(async () => {
        const { room } = window.__kaigi;
        const resumed = new Promise((resolve) => room.once('reconnected', resolve));
        room.engine.client.ws.close();
        await resumed;
      });
      await sleep(200);
    }
    await saying;
    const expected = Array.from({ length: count }, (_, number) => number);
    const toPython = await collect(python, [], (all) => numbers(all, 'reliable').length >= count);
    const toAoi = await collect(aoi, [], (all) => numbers(all, 'ping').length >= count);
    assert.deepEqual(numbers(toPython, 'reliable'), expected);
    assert.deepEqual(numbers(toAoi, 'ping'), expected);
    const metrics = await on.appliance.metrics();
    console.log(`${CUTS} cuts; ${metrics.get('kaigi_data_refused_total{reason="duplicate"}')} repeated messages were known already`);
    await Promise.all([aoi.close(), python.leave()]);
  });
});
