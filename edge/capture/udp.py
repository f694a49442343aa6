"""A tower or an encoder that sends over UDP: an MPEG transport stream, or RTP. Unicast, or a multicast group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from edge.capture.inputs import Feed, LiveConfig, Stream
from edge.capture.live import LiveSource
from edge.types import HOST, Memory

FIRST_PICTURE_S = 10.0  # to the first key frame
_RTP = "application/x-rtp,media=video,clock-rate=90000,encoding-name={} ! rtpjitterbuffer latency={} ! decodebin"
CHAINS = {
    "mpegts": "video/mpegts,systemstream=true,packetsize=188 ! tsdemux latency={1} ! decodebin",
    "rtp-h264": _RTP.format("H264", "{1}"),
    "rtp-h265": _RTP.format("H265", "{1}"),
    "rtp-jpeg": _RTP.format("JPEG", "{1}"),
}


class Config(LiveConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "udp"`. Anybody in the network can send to an open port: use a network of its own."""

    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    address: str = "0.0.0.0"  # a multicast group is joined
    format: Literal["mpegts", "rtp-h264", "rtp-h265", "rtp-jpeg"] = "mpegts"
    latency_ms: Annotated[int, msgspec.Meta(ge=0, le=5000)] = 100  # what may be held back to put packets in order


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> LiveSource:
    """`size`: (width, height) of the frames. Nobody sending is a state."""
    chain = "udpsrc name=source buffer-size=4194304 ! " + CHAINS[config.format].replace("{1}", str(config.latency_ms))
    properties = {"source": {"address": config.address, "port": config.port}}
    name = f"udp://{config.address}:{config.port}"
    return LiveSource(Stream(name, Feed(chain, properties), FIRST_PICTURE_S), config, size, reads)
