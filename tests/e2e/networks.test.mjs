// Meetings from the networks people are really on: UDP blocked, IPv6 alone, NAT on either side, and hosts without io_uring.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Appliance } from './lib/appliance.mjs';
import { chromium } from './lib/browsers.mjs';
import { inboundInPage, receivesFrom } from './lib/media.mjs';
import { Network } from './lib/network.mjs';
import { program } from './lib/programs.mjs';
import { routeThrough } from './lib/relay.mjs';
import { joinWithSdk } from './lib/sdk.mjs';
import { serveBarePage } from './lib/serve.mjs';
import { stage } from './lib/stage.mjs';

const WITHOUT_URING = program('kaigi-without-uring');

/** The chosen remote candidates of all connections: `{protocol, address, port}`. */
const chosenInPage = async () => {
  const { publisher, subscriber } = window.__kaigi.room.engine.pcManager;
  const chosen = [];
  // Protocol v1 has one connection for both directions.
  for (const transport of [publisher, subscriber].filter(Boolean)) {
    const stats = [...(await transport.getStats()).values()];
    const pair = stats.find((stat) => stat.type === 'candidate-pair' && stat.state === 'succeeded' && stat.nominated);
    const { protocol, address, port } = stats.find((stat) => stat.id === pair?.remoteCandidateId) ?? {};
    chosen.push({ protocol, address, port });
  }
  return chosen;
};

/** A metric's value, all labels summed. */
const metric = async (appliance, name) => {
  const text = await (await fetch(`${appliance.url}/metrics`)).text();
  const values = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  return values.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
};

/** Init script: of the candidates the page is told, TCP alone is left. (Firefox is steered by a local connection, so it cannot be put into a network.) */
const TCP_ALONE = `(() => {
  const { prototype } = RTCPeerConnection;
  const { setRemoteDescription } = prototype;
  prototype.setRemoteDescription = function (given, ...rest) {
    const sdp = given.sdp.split('\\r\\n').filter((line) => !/^a=candidate:\\S+ 1 udp /i.test(line)).join('\\r\\n');
    return setRemoteDescription.call(this, { type: given.type, sdp }, ...rest);
  };
})()`;

/** Two people meet inside a network; what `judge` makes of their pages. */
async function meetIn(network, args, judge) {
  const appliance = await Appliance.start(['--cores', '0', ...args], { host: network.host });
  const bare = await serveBarePage(network.address);
  let browser;
  try {
    browser = await chromium(network.flags(bare), { executablePath: network.program('/usr/bin/chromium') });
    const meeting = await appliance.createMeeting();
    const pages = [];
    for (const name of ['Aoi', 'Botan']) {
      pages.push(await joinWithSdk({ appliance, bare, browser, meeting, name }));
    }
    for (const page of pages) await receivesFrom(page, 1);
    await judge({ appliance, pages, chosen: (await Promise.all(pages.map((page) => page.evaluate(chosenInPage)))).flat() });
  } finally {
    await browser?.close();
    bare.close();
    await appliance.stop();
    network.close();
  }
}

describe('networks of all kinds', { timeout: 180_000 }, () => {
  test('where UDP is blocked a meeting works over the TCP port', async () => {
    const network = Network.open({ rules: ['meta l4proto udp counter drop'] });
    await meetIn(network, [], async ({ appliance, chosen }) => {
      assert.deepEqual(chosen.map(({ protocol, port }) => [protocol, port]), Array(2).fill(['tcp', appliance.tcpPort]));
      const open = await metric(appliance, 'kaigi_tcp_connections');
      console.log(`UDP blocked: ${network.counted()} datagrams dropped by the rule, ${open} TCP connections`);
      assert.ok(network.counted() > 0 && open >= 2, 'the rule had something to drop');
    });
  });

  test('a meeting works where there is only IPv6', async () => {
    const network = Network.open({ v6: true });
    await meetIn(network, [], async ({ chosen }) => {
      assert.ok(chosen.every(({ protocol, address }) => protocol === 'udp' && address.includes(':')), JSON.stringify(chosen));
    });
  });

  test('a meeting works behind a NAT, at the address that --node-ip announces', async () => {
    // The benchmarking range of RFC 2544: an address that neither side has.
    const announced = '198.18.7.7';
    const network = Network.open({ nat: [(own) => `ip daddr ${announced} counter dnat to ${own}`] });
    await meetIn(network, ['--node-ip', announced], async ({ chosen, appliance }) => {
      assert.deepEqual(chosen.map(({ address }) => address), Array(2).fill(announced));
      assert.ok(!appliance.log.includes('--node-ip'), 'nothing to warn of');
    });
  });
});

describe('the same meeting elsewhere', { timeout: 180_000 }, () => {
  const on = stage({ relay: true, fox: true });

  test('a NAT that forgets its bindings in mid-call costs a short freeze and no handshake', async () => {
    const meeting = await on.appliance.createMeeting();
    const access = await on.relay.access(on.appliance, 'Botan');
    const pages = [
      await on.join({ meeting, name: 'Aoi' }),
      await on.join({ meeting, name: 'Botan', scripts: [routeThrough(access)] }),
    ];
    for (const page of pages) await receivesFrom(page, 1);
    const handshakes = await metric(on.appliance, 'kaigi_peers_ready_total');
    const before = await access.counts();
    await access.rebind();
    const gaps = await Promise.all(pages.map((page) => page.evaluate(longestGapsInPage, { source: inboundInPage.toString(), ms: 10_000 })));
    const after = await access.counts();
    assert.ok(after.upstream.every((address) => !before.upstream.includes(address)), 'other addresses');
    for (const [name, gap] of [['the moved one receives', gaps[1]], ['the other receives of it', gaps[0]]]) {
      console.log(`after a rebind, longest time without: ${name}: a picture ${gap.video} ms, sound ${gap.audio} ms`);
      assert.ok(gap.video < 8000 && gap.audio < 8000, `${name}: ${JSON.stringify(gap)}`);
    }
    assert.equal(await metric(on.appliance, 'kaigi_peers_ready_total'), handshakes, 'no new handshake');
    assert.equal(await metric(on.appliance, 'kaigi_participants'), 2);
    await Promise.all(pages.map((page) => page.close()));
  });

  test('Firefox takes the TCP port where it is all there is', async () => {
    const meeting = await on.appliance.createMeeting();
    const pages = [
      await on.join({ meeting, name: 'Aoi' }),
      await on.join({ browser: on.fox, meeting, name: 'Fuji', scripts: [TCP_ALONE] }),
    ];
    for (const page of pages) await receivesFrom(page, 1);
    assert.ok(await metric(on.appliance, 'kaigi_tcp_connections') >= 1, 'media goes over TCP');
    await Promise.all(pages.map((page) => page.close()));
  });

  for (const [what, args, options, lines] of [
    ['where io_uring is forbidden by seccomp, by itself and with one line in the log', [], { launcher: WITHOUT_URING }, 1],
    ['with the epoll backend', ['--io', 'epoll'], {}, 0],
  ]) {
    test(`a meeting works ${what}`, async () => {
      const appliance = await Appliance.start(['--cores', '0', ...args], options);
      try {
        assert.ok((await (await fetch(`${appliance.url}/metrics`)).text()).includes('kaigi_plane_info{io="epoll"'), 'epoll is in use');
        assert.equal(appliance.log.split('\n').filter((line) => line.includes('epoll moves the packets')).length, lines, appliance.log);
        const meeting = await appliance.createMeeting();
        const pages = [await on.join({ appliance, meeting, name: 'Aoi' }), await on.join({ appliance, meeting, name: 'Botan' })];
        for (const page of pages) await receivesFrom(page, 1);
        await Promise.all(pages.map((page) => page.close()));
      } finally {
        await appliance.stop();
      }
    });
  }
});

/**
 * The longest time without a new decoded picture and without new sound packets, of the one remote participant: within four seconds, and on
 * until both have come again or `ms` have passed.
 */
async function longestGapsInPage({ source, ms }) {
  const read = (0, eval)(`(${source})`);
  const last = {}, gap = { video: 0, audio: 0 };
  const begun = performance.now();
  for (let now = begun; now < begun + ms; now = performance.now()) {
    const [one] = Object.values(await read());
    for (const [kind, count] of [['video', one?.videoFrames], ['audio', one?.audioPackets]]) {
      const moved = last[kind]?.count !== count;
      if (moved) last[kind] = { count, at: now };
      gap[kind] = Math.max(gap[kind], Math.round(now - last[kind].at));
    }
    const waits = ['video', 'audio'].some((kind) => last[kind]?.at < now - 300);
    if (now > begun + 4000 && !waits) break;
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
  return gap;
}
