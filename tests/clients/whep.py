"""A WHEP player on aiortc: VP8 and H264, Opus.

Usage: whep.py URL TOKEN. Twice a second a line of JSON: frames decoded, brightness of the last, seconds of sound decoded, and steps
of the picture's clock that went back. Ends its session when its standard input closes.
"""

import asyncio
import sys

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from http_session import Session, end_of_input, tell

got = {"frames": 0, "brightness": None, "sound": 0.0, "backwards": 0}


async def watch(track):
    last = None
    try:
        while True:
            frame = await track.recv()
            if track.kind == "audio":
                got["sound"] += frame.samples / frame.sample_rate
                continue
            got["backwards"] += last is not None and frame.pts <= last
            last = frame.pts
            luma = frame.planes[0]
            row = bytes(luma)[luma.line_size * (luma.height // 2):][:luma.width]
            got["frames"], got["brightness"] = got["frames"] + 1, sum(row) // len(row)
    except MediaStreamError:
        pass


async def report():
    while True:
        await asyncio.sleep(0.5)
        tell(**got)


async def main(url, token):
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    tasks = []
    peer.on("track", lambda track: tasks.append(asyncio.ensure_future(watch(track))))
    for kind in ("audio", "video"):
        peer.addTransceiver(kind, direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    session = Session(url, token)
    answer = await asyncio.to_thread(session.open, peer.localDescription.sdp)
    tell(opened=session.url)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    tasks.append(asyncio.ensure_future(report()))
    await end_of_input()
    tell(closed=await asyncio.to_thread(session.close))
    await peer.close()


asyncio.run(main(*sys.argv[1:]))
