// Two kinds of real browsers in one meeting with the product's own page.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Appliance } from './lib/appliance.mjs';
import { chromium, firefox, until } from './lib/browsers.mjs';
import { inboundInPage, receivesFrom, settledRates, transportsInPage } from './lib/media.mjs';

const CAPTURE = '320x180@15';
let appliance, meeting, chrome, fox;
const pages = {};

const pageUrl = (name) =>
  `${appliance.url}${meeting.path}?${new URLSearchParams({ name, autojoin: '1', capture: CAPTURE })}`;

/** Milliseconds from the join click to the first frame of somebody else, as the page marked them. */
const firstFrameMs = (page) => until(page, 'the first frame', () => {
  const mark = (name) => performance.getEntriesByName(name)[0]?.startTime;
  const [click, frame] = [mark('kaigi:join-click'), mark('kaigi:first-frame')];
  return click !== undefined && frame !== undefined ? frame - click : null;
});

describe('a meeting of three Chromium pages and one Firefox', { timeout: 240_000 }, () => {
  before(async () => {
    appliance = await Appliance.start(['--cores', '0,1']);
    meeting = await appliance.createMeeting();
    [chrome, fox] = await Promise.all([chromium(), firefox()]);
  });
  after(async () => {
    await Promise.allSettled([chrome?.close(), fox?.close()]);
    assert.equal(await appliance?.stop(), 0, 'kaigid ends cleanly on SIGTERM');
  });

  test('everybody decodes video and hears audio from every other', async () => {
    for (const name of ['Aoi', 'Botan', 'Chie']) pages[name] = await chrome.page(pageUrl(name));
    pages.Fuji = await fox.page(pageUrl('Fuji'));
    for (const [name, page] of Object.entries(pages)) {
      await receivesFrom(page, 3);
      console.log(`join to first frame, ${name}: ${Math.round(await firstFrameMs(page))} ms`);
    }
    for (const [name, page] of Object.entries(pages)) {
      const seen = await settledRates(page, (seen) => Object.values(seen).flatMap((one) => [
        ...(one.fps > 10 ? [] : [`${name} decodes ${one.fps.toFixed(1)} fps from ${one.name}`]),
        ...(one.energy > 0 ? [] : [`${name} does not hear ${one.name}`]),
      ]));
      assert.equal(Object.keys(seen).length, 3, `${name} sees three others`);
      for (const one of Object.values(seen)) assert.equal(one.width, 320, `${name} gets the captured width from ${one.name}`);
    }
  });

  test('both browsers speak DTLS 1.2 with AEAD_AES_256_GCM', async () => {
    for (const name of ['Aoi', 'Fuji']) {
      const facts = await pages[name].evaluate(transportsInPage);
      assert.equal(facts.length, 2, `${name}: publisher and subscriber connections`);
      for (const fact of facts) {
        assert.equal(fact.dtlsState, 'connected', name);
        // Both browsers show the registered name, Firefox with its prefix.
        assert.match(fact.srtpCipher, /^(SRTP_)?AEAD_AES_256_GCM$/, name);
        // FEFD is DTLS 1.2; Firefox may leave the version out.
        if (name === 'Aoi' || fact.tlsVersion !== undefined) assert.equal(fact.tlsVersion, 'FEFD', name);
      }
    }
    // The server's own word on the versions and profiles of all eight connections.
    const metrics = await appliance.metrics();
    assert.equal(metrics.get('kaigi_peers_ready_total{dtls="1.2",profile="AEAD_AES_256_GCM"}'), 8, 'two connections for each of four');
    const others = [...metrics].filter(([key, value]) => key.startsWith('kaigi_peers_ready_total{') && value > 0);
    assert.equal(others.length, 1, 'no connection of another kind');
  });

  test("a meeting's packets are all forwarded on one core of two", async () => {
    const cores = await appliance.perCore('kaigi_packets_forwarded_total');
    assert.deepEqual(Object.keys(cores).sort(), ['0', '1'], 'two workers report');
    const busy = Object.values(cores).filter((count) => count > 0);
    assert.equal(busy.length, 1, JSON.stringify(cores));
    assert.ok(busy[0] > 1000);
  });

  test('a late joiner sees video within two seconds', async () => {
    await pages.Chie.close();
    const late = (pages.Chie = await chrome.page(pageUrl('Chie late')));
    await receivesFrom(late, 3);
    const ms = await firstFrameMs(late);
    console.log(`late joiner, join to first frame: ${Math.round(ms)} ms`);
    const connectedToFrame = await late.evaluate(() => performance.getEntriesByName('kaigi:first-frame')[0].startTime
      - performance.getEntriesByName('kaigi:connected')[0].startTime);
    assert.ok(connectedToFrame < 2000, `${connectedToFrame} ms from connected to the first frame`);
  });

  test('leave and rejoin work', async () => {
    const page = pages.Botan;
    await page.click('[data-testid=leave-button]');
    await until(page, 'the page after leaving', () => document.querySelector('[data-state]')?.dataset.state === 'disconnected');
    await until(pages.Aoi, 'Botan to be gone', () => ![...window.__kaigi.room.remoteParticipants.values()].some((one) => one.name === 'Botan'));
    await page.click('[data-testid=rejoin-button]');
    await receivesFrom(page, 3);
    await receivesFrom(pages.Aoi, 3);
  });

  test('reload in mid-meeting comes back with picture and sound', async () => {
    for (const name of ['Aoi', 'Fuji']) {
      const identity = () => window.__kaigi.room.localParticipant.identity;
      const before = await pages[name].evaluate(identity);
      await pages[name].reload();
      await receivesFrom(pages[name], 3);
      assert.equal(await pages[name].evaluate(identity), before, `${name} is the same participant`);
    }
    await receivesFrom(pages.Botan, 3);
  });

  test('muting shows at the others and unmuting brings the sound back', async () => {
    const other = () => [...window.__kaigi.room.remoteParticipants.values()].find((one) => one.name === 'Botan');
    await pages.Botan.click('[data-testid=mic-button]');
    await until(pages.Aoi, 'Botan to be muted', `(${other})()?.isMicrophoneEnabled === false`);
    await pages.Botan.click('[data-testid=mic-button]');
    await until(pages.Aoi, 'Botan to be heard', `(${other})()?.isMicrophoneEnabled === true`);
    const before = Object.values(await pages.Aoi.evaluate(inboundInPage)).find((one) => one.name === 'Botan').audioEnergy;
    await until(pages.Aoi, 'sound from Botan', async ({ source, before }) => {
      const seen = Object.values(await (0, eval)(`(${source})`)());
      return seen.find((one) => one.name === 'Botan').audioEnergy > before;
    }, { source: inboundInPage.toString(), before });
  });

  test('a screen share reaches the others and ends', async () => {
    await pages.Aoi.click('[data-testid=screen-button]');
    await until(pages.Fuji, 'the screen tile', () => document.querySelector('[data-testid=tile][data-kind=screen] video')?.videoWidth > 0);
    await pages.Aoi.click('[data-testid=screen-button]');
    await until(pages.Fuji, 'the screen tile to go', () => !document.querySelector('[data-testid=tile][data-kind=screen]'));
  });
});
