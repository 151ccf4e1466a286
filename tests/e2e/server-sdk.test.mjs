// The unmodified npm livekit-server-sdk makes tokens with an API key and manages rooms; the unmodified livekit-client joins with them.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, test } from 'node:test';
import { AccessToken, DataPacket_Kind, RoomServiceClient, TrackSource, TwirpError } from 'livekit-server-sdk';
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

  test('manages its rooms and the people in them', async () => {
    const rooms = new RoomServiceClient(on.appliance.url, key, secret);
    const room = await rooms.createRoom({ name: 'Weekly' });
    assert.match(room.name, /^meeting_[0-9]+$/);
    assert.equal((await rooms.createRoom({ name: room.name })).name, room.name, 'a room that is there is that room');
    assert.deepEqual(await rooms.listParticipants(room.name), []);
    const before = meeting;
    meeting = { id: room.name };
    const [speaker, listener] = [await join('speaker'), await join('listener', { canPublish: false })];
    meeting = before;
    await receivesFrom(listener, 1);
    const listed = await rooms.listRooms([room.name]);
    assert.deepEqual(listed.map((one) => [one.name, one.numParticipants, one.numPublishers]), [[room.name, 2, 1]]);
    assert.deepEqual((await rooms.listParticipants(room.name)).map((one) => one.identity).sort(), ['listener', 'speaker']);

    const { tracks } = await rooms.getParticipant(room.name, 'speaker');
    const microphone = tracks.find((track) => track.source === TrackSource.MICROPHONE);
    const muted = await rooms.mutePublishedTrack(room.name, 'speaker', microphone.sid, true);
    assert.equal(muted.muted, true);
    await until(speaker, 'its microphone to be off', () => !window.__kaigi.room.localParticipant.isMicrophoneEnabled);
    await until(listener, 'the others to see it', () =>
      [...window.__kaigi.room.remoteParticipants.values()].some((one) => !one.isMicrophoneEnabled));

    const changed = await rooms.updateParticipant(room.name, 'speaker', { name: 'Somebody', attributes: { seat: '7' } });
    assert.deepEqual([changed.name, changed.attributes], ['Somebody', { seat: '7' }]);
    await until(listener, 'the new name', () => [...window.__kaigi.room.remoteParticipants.values()].some((one) => one.name === 'Somebody'));

    await listener.evaluate(() => {
      window.heard = [];
      window.__kaigi.room.on('dataReceived', (bytes, from, _kind, topic) => window.heard.push([new TextDecoder().decode(bytes), from?.identity ?? null, topic]));
    });
    const words = new TextEncoder().encode('hello');
    await rooms.sendData(room.name, words, DataPacket_Kind.RELIABLE, { destinationIdentities: ['listener'], topic: 'news' });
    await until(listener, 'the words', () => window.heard.length > 0);
    assert.deepEqual(await listener.evaluate(() => window.heard), [['hello', null, 'news']]);

    const video = tracks.find((track) => track.source === TrackSource.CAMERA);
    await rooms.updateSubscriptions(room.name, 'listener', [video.sid], false);
    await until(listener, 'the picture to end', () =>
      [...window.__kaigi.room.remoteParticipants.values()].every((one) => [...one.videoTrackPublications.values()].every((track) => !track.isSubscribed)));

    await rooms.removeParticipant(room.name, 'speaker');
    await until(speaker, 'to be sent away', () => window.__kaigi.room.state === 'disconnected');
    await assert.rejects(rooms.getParticipant(room.name, 'speaker'), (error) => error instanceof TwirpError && error.code === 'not_found');
    await assert.rejects(rooms.updateRoomMetadata(room.name, 'x'), (error) => error instanceof TwirpError && error.code === 'unimplemented');
    await rooms.deleteRoom(room.name);
    await until(listener, 'the end', () => window.__kaigi.room.state === 'disconnected');
    assert.deepEqual(await rooms.listRooms([room.name]), []);
    await assert.rejects(new RoomServiceClient(on.appliance.url, key, 'not the secret').listRooms(), (error) => error.status === 401);
    await Promise.all([speaker, listener].map((page) => page.close()));
  });

  test('is told when its secret is another', async () => {
    const token = new AccessToken(key, 'not the secret', { identity: 'x' });
    token.addGrant({ roomJoin: true, room: meeting.id });
    const answer = await fetch(`${on.appliance.url}/rtc/validate?access_token=${await token.toJwt()}`);
    assert.equal(answer.status, 401);
  });
});
