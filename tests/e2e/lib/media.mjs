// What a page's room really receives, read from getStats. Functions named *InPage run inside the page.
import { until } from './browsers.mjs';

/** Inbound media by remote identity: `{[identity]: {name, videoFrames, audioEnergy, audioPackets, audioConcealed, width, height}}`. */
export const inboundInPage = async () => {
  const room = window.__kaigi?.room;
  const seen = {};
  for (const participant of room?.remoteParticipants.values() ?? []) {
    const entry = (seen[participant.identity] = {
      name: participant.name, videoFrames: 0, audioEnergy: 0, audioPackets: 0, audioConcealed: 0, width: 0, height: 0,
    });
    for (const publication of participant.trackPublications.values()) {
      const report = await publication.track?.receiver?.getStats();
      for (const stat of report?.values() ?? []) {
        if (stat.type !== 'inbound-rtp') continue;
        if (stat.kind === 'video') {
          entry.videoFrames += stat.framesDecoded ?? 0;
          entry.width = Math.max(entry.width, stat.frameWidth ?? 0);
          entry.height = Math.max(entry.height, stat.frameHeight ?? 0);
        } else {
          entry.audioEnergy += stat.totalAudioEnergy ?? 0;
          entry.audioPackets += stat.packetsReceived ?? 0;
          entry.audioConcealed += stat.concealedSamples ?? 0;
        }
      }
    }
  }
  return seen;
};

/** DTLS and SRTP facts of both peer connections. */
export const transportsInPage = async () => {
  const manager = window.__kaigi.room.engine.pcManager;
  const facts = [];
  for (const transport of [manager.publisher, manager.subscriber]) {
    if (!transport) continue;
    for (const stat of (await transport.getStats()).values()) {
      if (stat.type !== 'transport') continue;
      facts.push({ dtlsState: stat.dtlsState, tlsVersion: stat.tlsVersion, srtpCipher: stat.srtpCipher, dtlsCipher: stat.dtlsCipher });
    }
  }
  return facts;
};

/** Waits until the page receives video (and audio energy) from `count` others; what it has instead is part of the error. */
export async function receivesFrom(page, count, { video = true, audio = true, timeoutMs = 30_000 } = {}) {
  const good = (one) => (!video || one.videoFrames > 0) && (!audio || one.audioEnergy > 0);
  for (const deadline = Date.now() + timeoutMs; ;) {
    const seen = Object.values(await page.evaluate(inboundInPage));
    if (seen.length === count && seen.every(good)) return seen;
    if (Date.now() > deadline) {
      throw new Error(`timed out after ${timeoutMs} ms waiting for media from ${count} others; has ${JSON.stringify(seen)}\n  ${page.consoleLog.slice(-15).join('\n  ')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Decoded frames per second and gained audio energy from each other participant over `ms`. */
export async function rates(page, ms = 4000) {
  const before = await page.evaluate(inboundInPage);
  const start = Date.now();
  await new Promise((resolve) => setTimeout(resolve, ms));
  const after = await page.evaluate(inboundInPage);
  const seconds = (Date.now() - start) / 1000;
  return Object.fromEntries(Object.entries(after).map(([identity, now]) => {
    const then = before[identity] ?? { videoFrames: 0, audioEnergy: 0, audioPackets: 0 };
    return [identity, {
      name: now.name, fps: (now.videoFrames - then.videoFrames) / seconds, energy: now.audioEnergy - then.audioEnergy,
      audioPackets: now.audioPackets - then.audioPackets, width: now.width, height: now.height,
    }];
  }));
}

/**
 * Measures until `faults(rates)` names nothing, at most `windows` times: on a busy machine encoders start late and slowly.
 * Answers the rates that were good; throws what was wrong with the last ones.
 */
export async function settledRates(page, faults, windows = 6) {
  for (let window = 1; ; window++) {
    const seen = await rates(page);
    const wrong = faults(seen);
    if (wrong.length === 0) return seen;
    if (window === windows) throw new Error(wrong.join('; '));
  }
}
