"""LiveKit's client protocol v0 over a WebSocket, for clients whose WebRTC implementation knows nothing of it.

A `Session` announces what its engine publishes, answers the server's offers and says once in a while what arrived, one JSON object per
line. An engine is two connections: `offer()` and `take_answer(sdp)` of the one that publishes, `answer(sdp)` of the one that receives,
and `received()`, a dictionary per arriving track. Nothing here is trickled: the server is ICE-lite and learns addresses from checks.
"""

import argparse
import asyncio
import json
import sys
import time

import websockets
from livekit.protocol import models, rtc

# Between two lines about what arrived, seconds.
REPORT_SECONDS = 0.5
# Between two signs of life, seconds; the server waits for thirty.
PING_SECONDS = 5


def arguments(description):
    """What every client is told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", required=True, help="ws://HOST:PORT of the server")
    parser.add_argument("--token", required=True, help="session token of the meeting")
    parser.add_argument("--name", required=True, help="how lines name this client")
    parser.add_argument("--video-kbps", type=int, default=0, help="publish a picture of noise at about this rate")
    parser.add_argument("--audio", action="store_true", help="publish a tone")
    parser.add_argument("--route", help="IP:PORT that all media goes to instead of the server's candidates")
    return parser.parse_args()


def routed(sdp, route):
    """The description with one candidate left in the first media section that has any: the one named by `route`."""
    if route is None:
        return sdp
    address, _, port = route.rpartition(":")
    lines, kept = [], False
    for line in sdp.split("\r\n"):
        if line.startswith("a=candidate:"):
            parts = line.split(" ")
            if kept or parts[2].lower() != "udp":
                continue
            kept = True
            line = " ".join([*parts[:4], address, port, *parts[6:]])
        lines.append(line)
    return "\r\n".join(lines)


def tracks_by_mid(sdp):
    """Track ids of an offer by the mid of their section."""
    tracks, mid = {}, None
    for line in sdp.split("\r\n"):
        if line.startswith("m="):
            mid = None
        elif line.startswith("a=mid:"):
            mid = line.removeprefix("a=mid:")
        elif line.startswith("a=msid:") and mid is not None:
            tracks[mid] = line.split(" ")[1]
    return tracks


class Session:
    """One participant. Lines go to standard output; the session ends when standard input does."""

    def __init__(self, options, engine):
        self.options = options
        self.engine = engine
        self.publishes = options.audio or options.video_kbps > 0
        self.began = time.monotonic()
        # Track id -> name of its publisher.
        self.names = {}
        # Track ids whose stream the server says it has paused.
        self.paused = set()
        self.offers = 0

    async def run(self):
        url = f"{self.options.url}/rtc?access_token={self.options.token}&protocol=15&auto_subscribe=1"
        async with websockets.connect(url, max_size=None) as self.socket:
            tasks = [asyncio.ensure_future(task) for task in (self.read(), self.report(), self.ping(), end_of_input())]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*(task for task in tasks if task not in done), return_exceptions=True)
            # What ended it first; only after a wanted end there is somebody to say goodbye to.
            for task in done:
                task.result()
            await self.send(leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))

    async def send(self, **message):
        await self.socket.send(rtc.SignalRequest(**message).SerializeToString())

    async def read(self):
        async for frame in self.socket:
            reply = rtc.SignalResponse.FromString(frame)
            kind = reply.WhichOneof("message")
            if kind == "join":
                self.learn([reply.join.participant, *reply.join.other_participants])
                if self.publishes:
                    await self.publish()
            elif kind == "update":
                self.learn(reply.update.participants)
            elif kind == "answer":
                await self.engine.take_answer(routed(reply.answer.sdp, self.options.route))
            elif kind == "offer":
                self.offers += 1
                sdp = await self.engine.answer(routed(reply.offer.sdp, self.options.route))
                await self.send(answer=rtc.SessionDescription(type="answer", sdp=sdp, id=reply.offer.id))
            elif kind == "stream_state_update":
                for state in reply.stream_state_update.stream_states:
                    paused = state.state == rtc.StreamState.PAUSED
                    (self.paused.add if paused else self.paused.discard)(state.track_sid)
            elif kind == "leave":
                raise RuntimeError(f"the server ended the session: {reply.leave}")

    def learn(self, participants):
        for participant in participants:
            for track in participant.tracks:
                self.names[track.sid] = participant.name

    async def publish(self):
        if self.options.audio:
            await self.send(add_track=rtc.AddTrackRequest(
                cid="audio", type=models.TrackType.AUDIO, source=models.TrackSource.MICROPHONE, disable_red=True))
        if self.options.video_kbps:
            await self.send(add_track=rtc.AddTrackRequest(
                cid="video", type=models.TrackType.VIDEO, source=models.TrackSource.CAMERA,
                width=self.engine.WIDTH, height=self.engine.HEIGHT))
        sdp = await self.engine.offer()
        await self.send(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=1))

    async def report(self):
        while True:
            received = await self.engine.received()
            for track in received:
                track["from"] = self.names.get(track["track"], "?")
                track["paused"] = track["track"] in self.paused
            line = {"at": round(time.monotonic() - self.began, 3), "name": self.options.name, "offers": self.offers,
                    "state": self.engine.state(), "received": received}
            print(json.dumps(line), flush=True)
            await asyncio.sleep(REPORT_SECONDS)

    async def ping(self):
        while True:
            await asyncio.sleep(PING_SECONDS)
            await self.send(ping_req=rtc.Ping(timestamp=int(time.time() * 1000)))


async def attend(engine_of, description):
    """Runs a participant on an engine, as the command line says, until whoever started it closes our standard input."""
    options = arguments(description)
    engine = engine_of(options)
    try:
        await Session(options, engine).run()
    finally:
        await engine.close()


async def end_of_input():
    """Waits until whoever started this closes our standard input, or is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
