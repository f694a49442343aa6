"""TOML of ours → frozen structs. What is unknown, missing or wrong is a WordsError that names file and key."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from server.words.errors import WordsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def load(file: Path, form: type[T]) -> T:
    """Raises WordsError."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise WordsError(f"{file}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise WordsError(f"{file}: not TOML: {exc}") from exc
    try:
        return msgspec.convert(content, form)
    except msgspec.ValidationError as exc:
        text, _, at = str(exc).partition(" - at `$")
        key = re.sub(r"`$", "", at).lstrip(".")
        raise WordsError(f"{file}: {key}: {text}" if key else f"{file}: {text}") from exc
