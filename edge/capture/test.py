"""GStreamer's test patterns as a live source: bars, black, snow. For trying states and sites without a tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from edge.capture.inputs import Feed, LiveConfig, Stream
from edge.capture.live import LiveSource
from edge.types import HOST, Memory


class Config(LiveConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "test"`. Only `snow` is ever live; `ball` is one colour but for a ball."""

    pattern: Literal["ball", "snow", "smpte", "bar", "black", "white", "blue", "gradient", "checkers-8"] = "snow"
    width: Annotated[int, msgspec.Meta(ge=32, le=3840)] = 1280
    height: Annotated[int, msgspec.Meta(ge=32, le=2160)] = 720
    fps: Annotated[int, msgspec.Meta(ge=1, le=240)] = 25


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> LiveSource:
    """`size`: (width, height) of the frames."""
    caps = f"video/x-raw,width={config.width},height={config.height},framerate={config.fps}/1"
    description = f"videotestsrc is-live=true pattern={config.pattern} ! {caps}"
    return LiveSource(Stream(f"test pattern {config.pattern}", Feed(description, {}), first_s=2.0), config, size, reads)
