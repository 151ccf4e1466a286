// Single streams as the browser counts them, and what they did between two moments. Functions named *InPage run inside the page.

/** Inbound streams of subscribed tracks: one entry per track, with the browser's running counts. */
export const inboundStreamsInPage = async () => {
  const streams = [];
  for (const participant of window.__kaigi?.room.remoteParticipants.values() ?? []) {
    for (const publication of participant.trackPublications.values()) {
      const report = await publication.track?.receiver?.getStats();
      const stats = [...(report?.values() ?? [])];
      const stat = stats.find((one) => one.type === 'inbound-rtp');
      if (!stat) continue;
      const codec = stats.find((one) => one.id === stat.codecId)?.mimeType?.split('/')[1] ?? '';
      streams.push({
        from: participant.name, source: publication.source, sid: publication.trackSid, kind: stat.kind, codec,
        ssrc: stat.ssrc, bytes: (stat.bytesReceived ?? 0) + (stat.headerBytesReceived ?? 0), packets: stat.packetsReceived ?? 0, lost: stat.packetsLost ?? 0,
        frames: stat.framesDecoded ?? 0, received: stat.framesReceived ?? 0, dropped: stat.framesDropped ?? 0, keyframes: stat.keyFramesDecoded ?? 0,
        width: stat.frameWidth ?? 0, height: stat.frameHeight ?? 0, fps: stat.framesPerSecond ?? 0,
        plis: stat.pliCount ?? 0, nacks: stat.nackCount ?? 0, freezes: stat.freezeCount ?? 0, freezeSeconds: stat.totalFreezesDuration ?? 0,
        samples: stat.totalSamplesReceived ?? 0, concealed: (stat.concealedSamples ?? 0) - (stat.silentConcealedSamples ?? 0),
        energy: stat.totalAudioEnergy ?? 0,
      });
    }
  }
  return streams;
};

/** Outbound streams of the publisher connection: one entry per encoding. */
export const outboundStreamsInPage = async () => {
  const report = await window.__kaigi.room.engine.pcManager.publisher.getStats();
  const stats = [...report.values()];
  return stats.filter((stat) => stat.type === 'outbound-rtp').map((stat) => ({
    kind: stat.kind, mid: stat.mid, rid: stat.rid ?? '', codec: stats.find((one) => one.id === stat.codecId)?.mimeType?.split('/')[1] ?? '',
    active: stat.active ?? true, bytes: (stat.bytesSent ?? 0) + (stat.headerBytesSent ?? 0), frames: stat.framesSent ?? 0, encoded: stat.framesEncoded ?? 0,
    keyframes: stat.keyFramesEncoded ?? 0, width: stat.frameWidth ?? 0, height: stat.frameHeight ?? 0, fps: stat.framesPerSecond ?? 0,
    mode: stat.scalabilityMode ?? '', limitation: stat.qualityLimitationReason ?? '', target: stat.targetBitrate ?? 0, plis: stat.pliCount ?? 0,
    qp: stat.framesEncoded ? Math.round(stat.qpSum / stat.framesEncoded) : 0,
  }));
};

/** The one inbound stream of a kind (and of a source, and from somebody, where those are given). */
export async function inbound(page, kind, { source, from } = {}) {
  const streams = await page.evaluate(inboundStreamsInPage);
  return streams.find((one) => one.kind === kind && (!source || one.source === source) && (!from || one.from === from));
}

/** Waits until `good` holds for the inbound stream, and answers it. */
export async function untilInbound(page, what, kind, good, { timeoutMs = 20_000, ...which } = {}) {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const one = await inbound(page, kind, which);
    if (one && good(one)) return one;
    if (Date.now() > deadline) {
      throw new Error(`timed out after ${timeoutMs} ms waiting for: ${what}; last ${JSON.stringify(one)}\n  ${page.consoleLog.slice(-15).join('\n  ')}`);
    }
    await sleep(100);
  }
}

/** What a stream did between two of its snapshots; rates per second of `seconds`. */
export function between(before, after, seconds) {
  const gained = (key) => after[key] - before[key];
  return {
    width: after.width, fps: gained('frames') / seconds, bps: (gained('bytes') * 8) / seconds,
    freezes: gained('freezes'), freezeSeconds: gained('freezeSeconds'), plis: gained('plis'), nacks: gained('nacks'), lost: gained('lost'),
    concealedShare: gained('samples') > 0 ? gained('concealed') / gained('samples') : 0,
  };
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
