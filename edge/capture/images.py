"""A folder of pictures as a film: in the order of their names, all of one kind and size."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge.capture import file
from edge.errors import CaptureError
from edge.types import HOST, Memory

KINDS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".bmp": "image/bmp"}


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "images"`."""

    path: str
    fps: Annotated[int, msgspec.Meta(ge=1, le=120)] = 25
    rate: Literal["real", "max"] = "real"
    loop: bool = False
    field: Literal["auto", "whole"] | list[tuple[float, float]] = "auto"


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> ImageSource:
    """`size`: (width, height) of the frames. Raises CaptureError: no folder, no pictures, or not of one kind."""
    return ImageSource(config, size, reads)


class ImageSource(file.FileSource):
    """GStreamer counts its way through names, so it reads numbered links to the pictures."""

    def __init__(self, config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> None:
        self._fps, self._endless = config.fps, config.loop
        self._links = tempfile.TemporaryDirectory(prefix="endoedge-images-")
        try:
            super().__init__(file.Config(path=config.path, rate=config.rate, field=config.field), size, reads)
        except CaptureError:
            self._links.cleanup()
            raise

    def _check(self) -> None:
        """Also makes the links."""
        try:
            files = [path for path in self._path.iterdir() if path.suffix.lower() in KINDS]
        except OSError as exc:
            raise CaptureError(f"{self._path}: cannot be read as a folder: {exc.strerror}") from exc
        kinds = Counter(KINDS[path.suffix.lower()] for path in files)
        if len(kinds) != 1:
            found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"
            raise CaptureError(f"{self._path}: pictures of one kind were expected ({', '.join(KINDS)}), found: {found}")
        self._kind = next(iter(kinds))
        for number, path in enumerate(sorted(files, key=_natural)):
            Path(self._links.name, f"{number:08d}").symlink_to(path.resolve())
        self._count = len(files)

    def _head(self) -> file.Feed:
        caps = f"{self._kind},framerate={self._fps}/1"
        values = {"location": f"{self._links.name}/%08d", "stop-index": self._count - 1, "loop": self._endless}
        return f"multifilesrc name=file caps={caps}", {"file": values}

    def close(self) -> None:
        super().close()
        self._links.cleanup()


def _natural(path: Path) -> list[str | int]:
    """frame-9 before frame-10."""
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", path.name)]
