"""A participant on GStreamer's webrtcbin as it is by default: receiver reports and nothing else; no header extensions, NACK, PLI, REMB."""

import asyncio
import datetime
import re

import gi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC

import signalling

FRAMES_PER_SECOND = 15
# The level element says this often how loud it was, nanoseconds.
LEVEL_NANOSECONDS = 100_000_000

VIDEO = (
    # Noise in blocks of 23 pixels: finer noise does not fit such rates.
    "videotestsrc is-live=true pattern=snow ! video/x-raw,width=14,height=8,framerate={fps}/1"
    " ! videoscale method=nearest-neighbour ! video/x-raw,width={width},height={height},pixel-aspect-ratio=1/1"
    " ! vp8enc deadline=1 cpu-used=8 end-usage=cbr target-bitrate={bps} keyframe-max-dist=300 error-resilient=default"
    " ! rtpvp8pay picture-id-mode=15-bit ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! publisher."
)
AUDIO = (
    "audiotestsrc is-live=true freq=300 volume=0.3 ! audio/x-raw,rate=48000,channels=1 ! opusenc"
    " ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! publisher."
)


class Certificate:
    """A key on P-256. GStreamer makes RSA keys by itself before 1.28, which the server does not take."""

    def __init__(self):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gstreamer")])
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        made, pem = builder.sign(key, hashes.SHA256()), serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.pem = (made.public_bytes(pem) + private).decode()
        self.fingerprint = made.fingerprint(hashes.SHA256()).hex(":").upper()

    def named_in(self, sdp):
        """The description with our fingerprint: of a PEM that was given, webrtcbin takes the private key into its own."""
        return re.sub("a=fingerprint:[^\r\n]*", f"a=fingerprint:sha-256 {self.fingerprint}", sdp)


def description(kind, sdp):
    result, message = GstSdp.SDPMessage.new_from_text(sdp)
    if result != GstSdp.SDPResult.OK:
        raise ValueError(f"not a description: {result}")
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


async def ask(element, signal, *given):
    """Emits an action signal that takes a promise, and waits for its reply."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle(one):
        if not future.done():
            future.set_result(one)

    promise = Gst.Promise.new_with_change_func(lambda one, *_: loop.call_soon_threadsafe(settle, one))
    element.emit(signal, *given, promise)
    await asyncio.wait_for(future, 20)
    if promise.wait() != Gst.PromiseResult.REPLIED:
        raise RuntimeError(f"{signal}: no reply")
    reply = promise.get_reply()
    if reply is not None and reply.has_field("error"):
        raise RuntimeError(f"{signal}: {reply.to_string()}")
    return reply


class Engine:
    """The two connections: one pipeline with two bins."""

    WIDTH, HEIGHT = 320, 180

    def __init__(self, options):
        Gst.init(None)
        self.options = options
        self.certificate = Certificate()
        parts = []
        if options.audio:
            parts.append(AUDIO)
        if options.video_kbps:
            parts.append(VIDEO.format(
                width=self.WIDTH, height=self.HEIGHT, fps=FRAMES_PER_SECOND, bps=options.video_kbps * 1_000))
        if parts:
            parts.append("webrtcbin name=publisher bundle-policy=max-bundle")
        self.pipeline = Gst.parse_launch(" ".join(parts)) if parts else Gst.Pipeline.new(None)
        self.pipeline.connect("deep-element-added", self.take_element)
        self.publisher = self.pipeline.get_by_name("publisher")
        self.subscriber = Gst.ElementFactory.make("webrtcbin", "subscriber")
        self.subscriber.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.subscriber)
        self.subscriber.connect("pad-added", self.take_pad)
        self.tracks, self.received_by_mid, self.mids_by_level = {}, {}, {}
        self.pipeline.set_state(Gst.State.PLAYING)

    def take_element(self, _, __, element):
        """Each connection has its decoder of DTLS, and that the certificate."""
        if element.get_factory() is not None and element.get_factory().get_name() == "dtlssrtpdec":
            element.set_property("pem", self.certificate.pem)

    def take_pad(self, _, pad):
        """A track arrives: decoded at once and thrown away. Called by a thread of GStreamer."""
        if pad.direction != Gst.PadDirection.SRC:
            return
        mid = pad.get_property("transceiver").get_property("mid")
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        got = {"kind": kind, "frames": 0, "width": 0, "height": 0, "energy": 0.0}
        if kind == "video":
            chain = "rtpvp8depay wait-for-keyframe=true ! vp8dec ! fakesink name=sink sync=false"
        else:
            name = f"level-{mid}"
            self.mids_by_level[name] = mid
            chain = (f"rtpopusdepay ! opusdec ! audioconvert ! level name={name} interval={LEVEL_NANOSECONDS}"
                     " ! fakesink name=sink sync=false")
        sink = Gst.parse_bin_from_description(f"queue ! {chain}", True)
        end = sink.get_by_name("sink").get_static_pad("sink")
        end.add_probe(Gst.PadProbeType.BUFFER, self.count, got)
        self.received_by_mid[mid] = got
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    @staticmethod
    def count(pad, _, got):
        got["frames"] += 1
        if got["kind"] == "video":
            caps = pad.get_current_caps().get_structure(0)
            got["width"], got["height"] = caps.get_value("width"), caps.get_value("height")
        return Gst.PadProbeReturn.OK

    def take_messages(self):
        """Reads what the pipeline says: levels, and faults, which end the client."""
        bus = self.pipeline.get_bus()
        while (message := bus.pop_filtered(Gst.MessageType.ELEMENT | Gst.MessageType.ERROR)) is not None:
            if message.type == Gst.MessageType.ERROR:
                raise RuntimeError(f"{message.src.get_name()}: {message.parse_error()}")
            structure = message.get_structure()
            mid = self.mids_by_level.get(message.src.get_name())
            if mid is not None and structure.get_name() == "level":
                power = max(10 ** (level / 10) for level in structure.get_value("rms"))
                self.received_by_mid[mid]["energy"] += power * LEVEL_NANOSECONDS / 1e9

    async def offer(self):
        reply = await ask(self.publisher, "create-offer", None)
        offer = reply.get_value("offer")
        await ask(self.publisher, "set-local-description", offer)
        return self.certificate.named_in(offer.sdp.as_text())

    async def take_answer(self, sdp):
        await ask(self.publisher, "set-remote-description", description(GstWebRTC.WebRTCSDPType.ANSWER, sdp))

    async def answer(self, sdp):
        self.tracks.update(signalling.tracks_by_mid(sdp))
        await ask(self.subscriber, "set-remote-description", description(GstWebRTC.WebRTCSDPType.OFFER, sdp))
        reply = await ask(self.subscriber, "create-answer", None)
        answer = reply.get_value("answer")
        await ask(self.subscriber, "set-local-description", answer)
        return self.certificate.named_in(answer.sdp.as_text())

    def state(self):
        def of(element):
            return "none" if element is None else element.get_property("connection-state").value_nick
        return {"publisher": of(self.publisher), "subscriber": of(self.subscriber)}

    async def received(self):
        self.take_messages()
        stats = await ask(self.subscriber, "get-stats", None)
        by_ssrc = []
        stats.foreach(lambda _, value: by_ssrc.append(value) or True)
        return [{**got, "track": self.tracks.get(mid, "?")} for mid, got in list(self.received_by_mid.items())]

    async def close(self):
        self.pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    asyncio.run(signalling.attend(Engine, __doc__))
