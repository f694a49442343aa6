"""A folder of JSON files, each an entry or a list of them. What cannot be read is left out and the log says which."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from server.worklist import Entry, WorklistError

log = logging.getLogger(__name__)
FILES_MOST, BYTES_MOST = 2000, 1 << 20


def read(folder: str) -> list[Entry]:
    """Raises WorklistError where the folder cannot be read."""
    place = Path(folder)
    try:
        files = sorted(file for file in place.iterdir() if file.suffix == ".json")
    except OSError as exc:
        raise WorklistError(f"worklist.folder {folder}: {exc.strerror}") from exc
    if len(files) > FILES_MOST:
        raise WorklistError(f"worklist.folder {folder}: {len(files)} files, expected at most {FILES_MOST}")
    return [entry for file in files for entry in _entries(file)]


def _entries(file: Path) -> list[Entry]:
    try:
        with file.open("rb") as opened:
            content = opened.read(BYTES_MOST + 1)
        if len(content) > BYTES_MOST:
            raise ValueError(f"more than {BYTES_MOST} bytes")
        found = msgspec.json.decode(content, type=Entry | list[Entry])
        entries = found if isinstance(found, list) else [found]
        if any(entry.scheduled is not None and entry.scheduled.tzinfo is None for entry in entries):
            raise ValueError("a time without its zone, expected one like 2026-01-31T10:00:00+01:00")
    except FileNotFoundError:  # taken away a moment ago
        return []
    except (OSError, ValueError) as exc:  # msgspec's errors are ValueErrors
        log.warning("worklist: %s: %s", file, exc)
        return []
    return entries
