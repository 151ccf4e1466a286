"""A participant on aiortc: WebRTC in Python, with abs-send-time, REMB, NACK and retransmissions, without transport-wide feedback."""

import asyncio
import fractions
import random
import re
import time

import aiortc.codecs.vpx
from aiortc import (
    AudioStreamTrack, RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack)
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

import signalling

FRAMES_PER_SECOND = 15
# Side of a block of noise, pixels: a picture can be had for 100 kbit/s, and a keyframe for 8 kB.
BLOCK = 16
SAMPLE_RATE = 48_000
SAMPLES = SAMPLE_RATE // 50
# Of the samples of a received frame, every so many count for its energy.
STRIDE = 8
CANDIDATE = re.compile("a=(candidate:|end-of-candidates)")


class Noise(VideoStreamTrack):
    """Noise in blocks, a few pictures in turn: costs the encoder the rate it is given."""

    def __init__(self, width, height):
        super().__init__()
        chance = random.Random(1)
        self.began, self.number, self.frames = None, 0, []
        for _ in range(8):
            frame = VideoFrame(width, height, "yuv420p")
            luma, *chroma = frame.planes
            rows = []
            for _ in range(0, luma.height, BLOCK):
                values = chance.randbytes(luma.line_size // BLOCK)
                row = bytes(value for value in values for _ in range(BLOCK)).ljust(luma.line_size, b"\x80")
                rows.extend([row] * BLOCK)
            luma.update(b"".join(rows[:luma.height]))
            for plane in chroma:
                plane.update(b"\x80" * plane.buffer_size)
            self.frames.append(frame)

    async def recv(self):
        now = time.monotonic()
        self.began = self.began or now
        due = self.began + self.number / FRAMES_PER_SECOND
        await asyncio.sleep(max(0, due - now))
        frame = self.frames[self.number % len(self.frames)]
        frame.pts, frame.time_base = self.number * 90_000 // FRAMES_PER_SECOND, fractions.Fraction(1, 90_000)
        self.number += 1
        return frame


class Tone(AudioStreamTrack):
    """A rectangular tone of 400 Hz."""

    def __init__(self):
        super().__init__()
        self.began, self.number = None, 0
        half = SAMPLE_RATE // 800
        wave = [8_000] * half + [-8_000] * half
        self.bytes = b"".join(value.to_bytes(2, "little", signed=True) for value in wave * (SAMPLES // len(wave)))

    async def recv(self):
        now = time.monotonic()
        self.began = self.began or now
        await asyncio.sleep(max(0, self.began + self.number * SAMPLES / SAMPLE_RATE - now))
        frame = AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(self.bytes)
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self.number * SAMPLES, fractions.Fraction(1, SAMPLE_RATE)
        self.number += 1
        return frame


def spread(sdp):
    """The description with the candidates of the bundle in every section: aiortc takes those of the last one (RFC 9143 has them in the first)."""
    head, *sections = re.split(r"(?=^m=)", sdp, flags=re.MULTILINE)
    candidates = "".join(line for line in sections[0].splitlines(keepends=True) if CANDIDATE.match(line))
    bare = ["".join(line for line in one.splitlines(keepends=True) if not CANDIDATE.match(line)) for one in sections]
    return head + "".join(one + candidates for one in bare)


class Engine:
    """The two connections."""

    WIDTH, HEIGHT = 320, 180

    def __init__(self, options):
        self.options = options
        aiortc.codecs.vpx.MIN_BITRATE = aiortc.codecs.vpx.DEFAULT_BITRATE = options.video_kbps * 1_000
        # Else aiortc leaves the second section of a kind on a transport of its own, and asks a STUN server of its own choice.
        configuration = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        self.publisher, self.subscriber = RTCPeerConnection(configuration), RTCPeerConnection(configuration)
        self.tracks, self.received_by_receiver, self.readers = {}, {}, set()
        self.subscriber.on("track", self.take_track)

    def take_track(self, track):
        receiver = next(one.receiver for one in self.subscriber.getTransceivers() if one.receiver.track is track)
        got = {"kind": track.kind, "frames": 0, "width": 0, "height": 0, "energy": 0.0}
        self.received_by_receiver[receiver] = got
        reader = asyncio.ensure_future(self.read(track, got))
        self.readers.add(reader)
        reader.add_done_callback(self.readers.discard)

    async def read(self, track, got):
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            got["frames"] += 1
            if track.kind == "video":
                got["width"], got["height"] = frame.width, frame.height
            else:
                samples = memoryview(bytes(frame.planes[0])).cast("h")[::STRIDE]
                power = sum(value * value for value in samples) / max(1, len(samples)) / 32_768**2
                got["energy"] += power * frame.samples / frame.sample_rate

    async def offer(self):
        if self.options.audio:
            self.publisher.addTrack(Tone())
        if self.options.video_kbps:
            self.publisher.addTrack(Noise(self.WIDTH, self.HEIGHT))
        await self.publisher.setLocalDescription(await self.publisher.createOffer())
        return self.publisher.localDescription.sdp

    async def take_answer(self, sdp):
        await self.publisher.setRemoteDescription(RTCSessionDescription(spread(sdp), "answer"))

    async def answer(self, sdp):
        self.tracks.update(signalling.tracks_by_mid(sdp))
        await self.subscriber.setRemoteDescription(RTCSessionDescription(spread(sdp), "offer"))
        await self.subscriber.setLocalDescription(await self.subscriber.createAnswer())
        return self.subscriber.localDescription.sdp

    def state(self):
        return {"publisher": self.publisher.connectionState, "subscriber": self.subscriber.connectionState}

    async def received(self):
        lines = []
        for transceiver in self.subscriber.getTransceivers():
            got = self.received_by_receiver.get(transceiver.receiver)
            if got is None:
                continue
            stats = [one for one in (await transceiver.receiver.getStats()).values() if one.type == "inbound-rtp"]
            lines.append({**got, "track": self.tracks.get(transceiver.mid, "?"),
                          "packets": sum(one.packetsReceived for one in stats), "lost": sum(one.packetsLost for one in stats)})
        return lines

    async def close(self):
        await self.publisher.close()
        await self.subscriber.close()


if __name__ == "__main__":
    asyncio.run(signalling.attend(Engine, __doc__))
