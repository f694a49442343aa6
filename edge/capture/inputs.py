"""Where live pictures come in: what `live.py` asks of a card, a grabber or a stream."""

from __future__ import annotations

import time
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from edge.capture import gst
from edge.capture.evidence import Link


class LiveConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of `[capture]` that every live source has."""

    field: Literal["auto", "whole"] | list[tuple[float, float]] = "auto"  # or its corners, in source pixels
    profile: str = "auto"  # or one of profiles.toml


class Reading(NamedTuple):
    """What the driver says now. `format` only where the link is locked and the driver knows it."""

    link: Link
    format: str = ""


class Feed(NamedTuple):
    """How GStreamer reads from an input: a description, properties of its named elements, what it will bring."""

    description: str
    properties: dict[str, dict[str, Any]]
    format: str = ""  # as `Reading.format` has it; "" where the driver does not say
    fps: float = 0.0


def shown(address: str) -> str:
    """A stream's address for messages: without its user, password and query, for cameras take keys in all of them."""
    parts = urlsplit(address)
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # then what stands before may be a piece of a password
        return f"{parts.scheme}://..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else address


class Input(Protocol):
    """Where pictures come in. Used from one thread; `live` alone knows when to open."""

    name: str  # for messages: a device, an address without its password
    first_s: float  # how long its first picture may take

    def read(self, pipeline: gst.Pipeline | None) -> Reading:
        """Cheap, and never an error: asked at every picture, and every SLICE_S without one."""

    def wait(self, seconds: float) -> None:
        """For something to happen, at most so long."""

    def open(self) -> Feed:
        """Make it ready to stream. Nothing streams from it now. Raises CaptureError."""

    def close(self) -> None: ...


class Stream:
    """An input of which nothing is known but its pictures: network streams, test patterns."""

    def __init__(self, name: str, feed: Feed, first_s: float) -> None:
        self.name, self._feed, self.first_s = name, feed, first_s

    def read(self, pipeline: gst.Pipeline | None) -> Reading:  # noqa: ARG002
        return Reading(Link.UNKNOWN)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def open(self) -> Feed:
        return self._feed

    def close(self) -> None:
        """Nothing is held."""
