"""A WHEP player on GStreamer's webrtcbin: VP8 and Opus, no header extensions.

Usage: whep_gstreamer.py URL TOKEN. Twice a second a line of JSON: frames and sounds decoded. Ends its session when its standard
input closes.
"""

import datetime
import re
import sys
import threading

import gi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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


def elliptic():
    """A certificate on P-256 as PEM, and its fingerprint: by itself GStreamer makes RSA keys, which the server does not take."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "player")])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    certificate = builder.sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (certificate.public_bytes(encoding) + private).decode(), certificate.fingerprint(hashes.SHA256()).hex(":").upper()


class Player:
    def __init__(self, url, token):
        self.session = Session(url, token)
        self.pem, self.fingerprint = elliptic()
        self.pipeline = Gst.Pipeline.new()
        self.pipeline.connect("deep-element-added", self.certify)
        self.peer = Gst.ElementFactory.make("webrtcbin")
        self.peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.peer)
        self.peer.connect("pad-added", self.show)
        for kind in ("audio", "video"):
            direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            self.peer.emit("add-transceiver", direction, Gst.Caps.from_string(CAPS[kind]))
        self.pipeline.set_state(Gst.State.PLAYING)
        self.peer.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered, None))

    def certify(self, _, __, element):
        factory = element.get_factory()
        if factory is not None and factory.get_name() == "dtlssrtpdec":
            element.set_property("pem", self.pem)

    def offered(self, promise, _):
        # Whoever drops the reply drops the offer in it.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        text = re.sub("a=fingerprint:[^\r\n]*", f"a=fingerprint:sha-256 {self.fingerprint}", offer.sdp.as_text())
        self.peer.emit("set-local-description", offer, Gst.Promise.new())
        answer = self.session.open(text)
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
