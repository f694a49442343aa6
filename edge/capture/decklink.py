"""A Blackmagic DeckLink card (SDI or HDMI), through GStreamer's `decklinkvideosrc` and the vendor's driver."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from edge.capture import gst
from edge.capture.evidence import Link
from edge.capture.inputs import Feed, LiveConfig, Reading
from edge.capture.live import LiveSource
from edge.errors import CaptureError
from edge.types import HOST, Memory

ELEMENT = "decklinkvideosrc"
FIRST_PICTURE_S = 5.0  # the card looks for the format


class Config(LiveConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "decklink"`."""

    device: Annotated[int, msgspec.Meta(ge=0, le=63)] = 0
    connection: Literal["auto", "sdi", "hdmi", "optical-sdi", "component", "composite", "svideo"] = "auto"


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> LiveSource:
    """`size`: (width, height) of the frames. Raises CaptureError where GStreamer has no such element."""
    if gst.missing_elements([ELEMENT]):
        raise CaptureError(f"capture.source: GStreamer has no {ELEMENT}: install gstreamer1.0-plugins-bad")
    return LiveSource(Card(config), config, size, reads)


class Card:
    """See `inputs.Input`. The card says whether there is a signal, of the pipeline that reads it."""

    first_s = FIRST_PICTURE_S

    def __init__(self, config: Config) -> None:
        self.name = f"DeckLink {config.device}"
        self._config = config

    def read(self, pipeline: gst.Pipeline | None) -> Reading:
        """Without a signal the pipeline goes on: its pictures are dropped by the element, and it alone can tell."""
        signal = pipeline is not None and bool(pipeline.get("source", "signal"))
        return Reading(Link.LOCKED if signal else Link.UNKNOWN)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def open(self) -> Feed:
        chain = f"{ELEMENT} name=source mode=auto connection={self._config.connection} drop-no-signal-frames=true"
        return Feed(chain, {"source": {"device-number": self._config.device}})

    def close(self) -> None:
        """The pipeline holds the card."""
