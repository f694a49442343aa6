"""Which release this program is part of: `release.json`, beside its environment. A checkout has none."""

from __future__ import annotations

import functools
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import msgspec

from edge import __version__
from edge.types import Struct

FILE = "release.json"
Content = Literal["all", "model", "pipeline"]
"""What differs from the release before. A release is always the whole of it."""


class Release(Struct, frozen=True, kw_only=True):
    """`tools/release.sh build` writes it; tools/install.sh, too, of what it lays down."""

    version: str
    package: str = __version__  # of the program in it
    content: Content = "all"
    hardware: tuple[str, ...] = ()  # RAUC's `compatible`, of each board that it is for
    system: int = 1  # of the units, slot program and RAUC's configuration that it needs: the least
    commit: str = ""
    built_at: str = ""  # of the commit, RFC 3339, UTC: no clock of a box is older
    python: str = ""
    models: dict[str, str] = msgspec.field(default_factory=dict)  # name → sha256
    pipelines: dict[str, str] = msgspec.field(default_factory=dict)
    changes: str = ""
    clinical: str = ""


def read(folder: Path) -> Release | None:
    """Of a release's root folder. None: there is none, or it cannot be understood."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Release)
    except (OSError, msgspec.DecodeError):
        return None


@functools.cache
def running() -> Release:
    """The environment is a folder of the release's root. On a box it is known by a link."""
    return read(Path(sys.prefix).resolve().parent) or Release(version=__version__)


def version() -> str:
    return running().version


def built_at() -> datetime:
    """1970 where nobody wrote it down."""
    try:
        return datetime.fromisoformat(running().built_at.replace("Z", "+00:00"))
    except ValueError:
        return datetime.fromtimestamp(0, timezone.utc)
