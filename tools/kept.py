"""Results in files, so that what was broken off can go on."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from edge.errors import UsageError

T = TypeVar("T")


def read(file: Path, kind: type[T]) -> T | None:
    """None: there is none. UsageError: it says nothing."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as exc:
        raise UsageError(f"{file}: not understood: {exc}") from exc
