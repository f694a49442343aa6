"""Capture profiles: which GStreamer elements crop, scale and convert here. Data, in `profiles.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from edge import config
from edge.capture import gst
from edge.errors import CaptureError
from edge.types import Field

FILE = Path(__file__).with_suffix(".toml")
STILL_HEIGHT = 720  # px at most


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row; see the head of `profiles.toml`."""

    name: str
    machine: str
    needs: list[str]
    prepare: str
    frame: str
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


def choose(name: str) -> Profile:
    """The profile of that name, or the first that this machine can do for "auto". Raises CaptureError."""
    profiles = all_profiles()
    if name != "auto":
        named = [profile for profile in profiles if profile.name == name]
        if not named:
            known = ", ".join(profile.name for profile in profiles)
            raise CaptureError(f"capture.profile is {name!r}; auto or one of: {known}")
        missing = gst.missing_elements(named[0].needs)
        if missing:
            raise CaptureError(f"capture.profile {name!r} needs {', '.join(missing)}, which GStreamer has not here")
        return named[0]
    for profile in profiles:
        if not gst.missing_elements(profile.needs):
            return profile
    raise CaptureError("no capture profile fits: install gstreamer1.0-plugins-base and gstreamer1.0-plugins-good")


def still_size(crop: Crop) -> tuple[int, int]:
    """(width, height) of key frames: the field's own, or smaller so that it is STILL_HEIGHT high; both even."""
    width, height = (crop.field.width, crop.field.height) if crop.field else (crop.width, crop.height)
    scale = min(1.0, STILL_HEIGHT / height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
