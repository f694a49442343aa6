"""The software colon as a source: rendered once, cached, then played through the same GStreamer path as any file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge.capture import file
from edge.phantom import Clip, Script, ensure_clip
from edge.types import HOST, Memory


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "phantom"`."""

    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    fps: Annotated[int, msgspec.Meta(ge=1, le=120)] = 25
    seconds: Annotated[float, msgspec.Meta(gt=0, le=7200)] = 30
    width: Annotated[int, msgspec.Meta(ge=320, le=1920)] = 640
    height: Annotated[int, msgspec.Meta(ge=256, le=1080)] = 512
    shape: Literal["octagon", "round"] = "octagon"
    rate: Literal["real", "max"] = "real"
    loop: bool = False
    cache_dir: str = ""  # default: the user's cache


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> file.FileSource:
    """Renders the clip first when it is not cached (about as long as it plays). Raises CaptureError, EdgeError."""
    clip = prepare(config)
    return file.open(file.Config(path=str(clip.video), rate=config.rate, loop=config.loop), size, reads)


def prepare(config: Config, progress: Callable[[int, int], None] | None = None) -> Clip:
    """The cached clip and its ground truth. `progress(done, all)` counts rendered frames."""
    script = Script(
        seed=config.seed,
        fps=config.fps,
        seconds=float(config.seconds),  # 30 and 30.0 are one script
        width=config.width,
        height=config.height,
        shape=config.shape,
    )
    return ensure_clip(script, Path(config.cache_dir) if config.cache_dir else default_cache(), progress)


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/endoedge/phantom`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "endoedge" / "phantom"
