"""Capture profiles: which GStreamer elements crop, scale and convert here, and where frames then lie. Data, in
`profiles.toml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge import config
from edge.capture import gst
from edge.errors import CaptureError, GpuError
from edge.memory import mapper
from edge.types import HOST, Field, Memory

FILE = Path(__file__).with_suffix(".toml")
STILL_HEIGHT = 720  # px at most
LOOK_SIZE = 64, 64  # px, of what the signal is judged by where frames do not come to the host
BINDINGS = "cuda.bindings"  # the Python package that device memory needs


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row; see the head of `profiles.toml`."""

    name: str
    machine: str
    memory: Memory
    needs: list[str]
    libraries: list[str] = []
    h2d: int = 0
    d2h: int = 0
    prepare: str
    frame: str
    look: str = ""
    whole: str
    still: str


class _Profiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    profile: list[Profile]


class Crop(NamedTuple):
    """What to cut out of a picture of `width` x `height` px: a field, or all of it."""

    width: int = 0
    height: int = 0
    field: Field | None = None

    def values(self) -> dict[str, int]:
        field = self.field
        if field is None:
            return dict.fromkeys(("x0", "y0", "x1", "y1", "left", "top", "right", "bottom"), 0)
        x1, y1 = field.x + field.width, field.y + field.height
        edges = {"x0": field.x, "y0": field.y, "x1": x1, "y1": y1}
        return edges | {"left": field.x, "top": field.y, "right": self.width - x1, "bottom": self.height - y1}


def all_profiles() -> list[Profile]:
    return config.decode_toml(FILE, _Profiles).profile


def missing(profile: Profile) -> list[str]:
    """Elements, libraries and Python packages that it needs and this machine has not."""
    modules = [] if profile.memory == "host" else [BINDINGS]
    return gst.missing_elements(profile.needs) + mapper.missing(profile.libraries, modules)


def choose(name: str, reads: Sequence[Memory] = HOST) -> Profile:
    """The profile of that name, or for "auto" the first that this machine can do. Raises CaptureError.

    `reads`: the kinds of memory that the backend reads frames from.
    """
    profiles = all_profiles()
    if name == "auto":
        for profile in profiles:
            if profile.memory in reads and not missing(profile):
                return profile
        raise CaptureError("no capture profile fits: install gstreamer1.0-plugins-base and gstreamer1.0-plugins-good")
    named = [profile for profile in profiles if profile.name == name]
    if not named:
        known = ", ".join(profile.name for profile in profiles)
        raise CaptureError(f"capture.profile is {name!r}; auto or one of: {known}")
    lacking = missing(named[0])
    if lacking:
        raise CaptureError(f"capture.profile {name!r} needs {', '.join(lacking)}, which this machine has not")
    if named[0].memory not in reads:
        raise CaptureError(
            f"capture.profile {name!r} leaves frames in {named[0].memory} memory,"
            f" the backend reads them from: {', '.join(reads)}"
        )
    return named[0]


def open_mapper(profile: Profile) -> mapper.Mapper:
    """For one source. Raises CaptureError."""
    try:
        return mapper.open(profile.memory)
    except GpuError as exc:
        raise CaptureError(f"capture profile {profile.name!r}: {exc}; capture.profile can name another") from exc


def frame_branch(profile: Profile, crop: Crop, size: tuple[int, int], mailbox: str) -> str:
    """From the tap to the appsink `sink`; and to `look` what stands for the frame where the host cannot see it.

    The look comes first: when a frame is in its appsink, so is its look.
    """
    width, height = size
    frame = f"tap. ! {profile.frame.format(width=width, height=height, **crop.values())}"
    if not profile.look:
        return f"{frame} ! appsink name=sink {mailbox}"
    look = profile.look.format(width=LOOK_SIZE[0], height=LOOK_SIZE[1])
    return (
        f"{frame} ! tee name=frames"
        f" frames. ! {look} ! appsink name=look max-buffers=4 drop=true async=false sync=false qos=false"
        " enable-last-sample=false"
        f" frames. ! appsink name=sink {mailbox}"
    )


def still_size(crop: Crop) -> tuple[int, int]:
    """(width, height) of key frames: the field's own, or smaller so that it is STILL_HEIGHT high; both even."""
    width, height = (crop.field.width, crop.field.height) if crop.field else (crop.width, crop.height)
    scale = min(1.0, STILL_HEIGHT / height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
