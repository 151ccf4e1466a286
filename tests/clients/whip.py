"""A WHIP publisher on aiortc: a grey picture of one brightness, VP8, and silence.

Usage: whip.py URL TOKEN BRIGHTNESS. A line of JSON for each step; ends its session when its standard input closes.
"""

import asyncio
import fractions
import sys

from aiortc import AudioStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from av import VideoFrame

from http_session import Session, end_of_input, tell

WIDTH, HEIGHT, FRAMES_PER_SECOND = 320, 180, 15


class Grey(VideoStreamTrack):
    def __init__(self, brightness):
        super().__init__()
        self.number = 0
        self.frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane, value in zip(self.frame.planes, (brightness, 128, 128)):
            plane.update(bytes([value]) * plane.buffer_size)

    async def recv(self):
        await asyncio.sleep(1 / FRAMES_PER_SECOND)
        self.frame.pts = self.number * 90_000 // FRAMES_PER_SECOND
        self.frame.time_base = fractions.Fraction(1, 90_000)
        self.number += 1
        return self.frame


async def main(url, token, brightness):
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for track in (AudioStreamTrack(), Grey(int(brightness))):
        transceiver = peer.addTransceiver(track, direction="sendonly")
        if track.kind == "video":
            codecs = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType in ("video/VP8", "video/rtx")])
    await peer.setLocalDescription(await peer.createOffer())
    session = Session(url, token)
    answer = await asyncio.to_thread(session.open, peer.localDescription.sdp)
    tell(opened=session.url)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    tell(trickled=await asyncio.to_thread(session.trickle, "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n"))
    await end_of_input()
    tell(closed=await asyncio.to_thread(session.close))
    await peer.close()


asyncio.run(main(*sys.argv[1:]))
