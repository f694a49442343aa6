"""An AJA card (SDI or HDMI), through the vendor's GStreamer element `ajasrc`. Its pictures alone tell of the signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from edge.capture import gst
from edge.capture.inputs import Feed, LiveConfig, Stream
from edge.capture.live import LiveSource
from edge.errors import CaptureError
from edge.types import HOST, Memory

FIRST_PICTURE_S = 5.0  # the card looks for the format


class Config(LiveConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "aja"`."""

    device: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.-]+$")] = "0"  # number, serial number or name
    input_source: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]+$")] = "auto"  # such as hdmi-1, sdi-1


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> LiveSource:
    """`size`: (width, height) of the frames. Raises CaptureError where GStreamer has no such element."""
    if gst.missing_elements(["ajasrc", "ajasrcdemux"]):
        raise CaptureError("capture.source: GStreamer has no ajasrc: install AJA's driver and its gst-plugin-aja")
    chain = f"ajasrc name=source video-format=auto input-source={config.input_source} ! ajasrcdemux name=d d.video"
    feed = Feed(chain, {"source": {"device-identifier": config.device}})
    return LiveSource(Stream(f"AJA {config.device}", feed, FIRST_PICTURE_S), config, size, reads)
