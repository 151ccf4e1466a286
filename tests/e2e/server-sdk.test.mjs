// The unmodified npm livekit-server-sdk makes tokens with an API key; the unmodified livekit-client joins with them.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, test } from 'node:test';
import { AccessToken } from 'livekit-server-sdk';
import { until } from './lib/browsers.mjs';
import { receivesFrom } from './lib/media.mjs';
import { program } from './lib/programs.mjs';
import { stage } from './lib/stage.mjs';

describe('a server with an API key', { timeout: 120_000 }, () => {
  const on = stage();
  let key, secret, meeting;
  before(async () => {
    const made = spawnSync(program('kaigid'), ['token', '--user', 'ada', '--data', on.appliance.data], { encoding: 'utf8' });
    const ada = made.stdout.trim();
    ({ key, secret } = await on.appliance.api('POST', '/users/me/api-keys', { name: 'Our site' }, ada));
    meeting = await on.appliance.api('POST', '/meetings', { topic: 'x' }, ada);
  });

  const join = async (identity, grant = {}) => {
    const token = new AccessToken(key, secret, { identity, name: identity.toUpperCase() });
    token.addGrant({ roomJoin: true, room: meeting.id, ...grant });
    const page = await on.chrome.page(on.bare.url);
    const url = on.appliance.url.replace('http', 'ws');
    const publishes = grant.canPublish !== false;
    const state = await page.evaluate((given) => window.connect(given), { url, token: await token.toJwt(), audio: publishes, video: publishes });
    assert.equal(state, 'connected');
    return page;
  };

  test('lets people in under identities of its own, with what it grants', async () => {
    const speaker = await join('speaker');
    const viewer = await join('viewer', { canPublish: false });
    await receivesFrom(viewer, 1);
    const seen = await viewer.evaluate(() => [...window.__kaigi.room.remoteParticipants.values()].map((one) => [one.identity, one.name]));
    assert.deepEqual(seen, [['speaker', 'SPEAKER']]);
    const may = await viewer.evaluate(() => {
      const { permissions, identity } = window.__kaigi.room.localParticipant;
      return [identity, permissions.canPublish, permissions.canSubscribe];
    });
    assert.deepEqual(may, ['viewer', false, true]);
    // The same identity from elsewhere takes the place of the first.
    const again = await join('viewer', { canPublish: false });
    await until(viewer, 'the older one to leave', () => window.__kaigi.room.state === 'disconnected');
    await receivesFrom(again, 1);
    await Promise.all([speaker, viewer, again].map((page) => page.close()));
  });

  test('is told when its secret is another', async () => {
    const token = new AccessToken(key, 'not the secret', { identity: 'x' });
    token.addGrant({ roomJoin: true, room: meeting.id });
    const answer = await fetch(`${on.appliance.url}/rtc/validate?access_token=${await token.toJwt()}`);
    assert.equal(answer.status, 401);
  });
});
