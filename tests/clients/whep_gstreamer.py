"""A WHEP player on GStreamer's webrtcbin: VP8 and Opus, no header extensions.

Usage: whep_gstreamer.py URL TOKEN. Twice a second a line of JSON: frames and sounds decoded. Ends its session when its standard
input closes.
"""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from http_session import Session, tell  # noqa: E402

CAPS = {
    "audio": "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2",
    "video": "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000,rtcp-fb-nack-pli=1",
}
got = {"audio": 0, "video": 0}


class Player:
    def __init__(self, url, token):
        self.session = Session(url, token)
        self.pipeline = Gst.Pipeline.new()
        self.peer = Gst.ElementFactory.make("webrtcbin")
        self.peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.peer)
        self.peer.connect("pad-added", self.show)
        for kind in ("audio", "video"):
            direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            self.peer.emit("add-transceiver", direction, Gst.Caps.from_string(CAPS[kind]))
        self.pipeline.set_state(Gst.State.PLAYING)
        self.peer.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered, None))

    def offered(self, promise, _):
        offer = promise.get_reply().get_value("offer")
        self.peer.emit("set-local-description", offer, Gst.Promise.new())
        answer = self.session.open(offer.sdp.as_text())
        tell(opened=self.session.url)
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        described = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", described, Gst.Promise.new())

    def show(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        decoder = Gst.ElementFactory.make("decodebin")
        decoder.connect("pad-added", self.decoded)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def decoded(self, _, pad):
        kind = pad.get_current_caps().get_structure(0).get_name().split("/")[0]
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("signal-handoffs", True)
        sink.set_property("sync", False)

        def count(*_):
            got[kind] += 1

        sink.connect("handoff", count)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def close(self):
        tell(closed=self.session.close())
        self.pipeline.set_state(Gst.State.NULL)


def main(url, token):
    Gst.init(None)
    loop = GLib.MainLoop()
    player = Player(url, token)

    def report():
        tell(frames=got["video"], sounds=got["audio"])
        return True

    def until_end_of_input():
        while sys.stdin.read(1024):
            pass
        loop.quit()

    GLib.timeout_add(500, report)
    threading.Thread(target=until_end_of_input, daemon=True).start()
    loop.run()
    player.close()


main(*sys.argv[1:])
