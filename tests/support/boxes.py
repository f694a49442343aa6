"""Boxes with procedures in their spools and the real upload (`edge.uplink.reports`), as many as wanted in one process.

The pictures can be decoded: one noise for all, made different by a comment in each.
"""

from __future__ import annotations

import functools
import hashlib
import io
import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from PIL import Image

from edge.procedure import Record
from edge.uplink.config import ReportsConfig
from edge.uplink.handover import Aside, Later, Named, Post, Put, Sent, Upload
from edge.uplink.report_http import ReportServer
from edge.uplink.reports import Reports
from tests.support.procedures import record

SIDE = (720, 576)


@functools.cache
def _noise(size: int) -> bytes:
    """A baseline JPEG of about so many bytes."""
    width, height = SIDE
    dice = np.random.default_rng(1)
    low, high = 0, 255
    best = b""
    while high - low > 1:  # the more noise, the more bytes
        middle = (low + high) // 2
        pixels = 60 + dice.integers(0, middle + 1, (height, width, 3))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        best = file.getvalue()
        low, high = (middle, high) if len(best) < size else (low, middle)
    return best


def picture(name: str, size: int = 20_000) -> bytes:
    """Another one for each name."""
    base, comment = _noise(size), name.encode()
    return base[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + base[2:]


def procedure(device: str, name: str, *, frames: int, size: int = 20_000, **more: Any) -> tuple[Record, list[bytes]]:
    """A record and its key frames."""
    pictures = [picture(f"{device} {name} {number}", size) for number in range(frames)]
    made = record(name, pictures, **more)
    made = replace(made, heading=replace(made.heading, device=device))
    shown = {"width": SIDE[0], "height": SIDE[1]}

    def sized(part: Any) -> Any:
        return tuple(replace(one, key_frame=replace(one.key_frame, **shown)) for one in part)

    return replace(made, landmarks=sized(made.landmarks), findings=sized(made.findings)), pictures


def upload(url: str, token: str, record: Record, pictures: list[bytes]) -> Sent | Aside | Later:
    """By the box's own code, once, with nothing on a disk. Raises LinkError."""
    config = msgspec.convert({"url": url, "rate_kib_s": 1_048_576}, ReportsConfig)
    named = {hashlib.sha256(picture).hexdigest(): picture for picture in pictures}
    state, body = Upload(Named.of(record), list(named)), msgspec.json.encode(record)
    with ReportServer(config, None, token, lambda _: None) as server:
        while isinstance(step := state.next, Post | Put):
            state.answered(server.put(step.sha256, named[step.sha256]) if isinstance(step, Put) else server.post(body))
    return step


class SimBox:
    """`laid`: procedure → the record's bytes as they have to arrive."""

    def __init__(self, folder: Path, device: str, token: str, url: str, **more: Any) -> None:
        self.device, self._spool = device, folder / "spool"
        self._spool.mkdir(parents=True)
        (folder / "token").write_text(f"{token}\n")
        table = {"url": url, "token_file": str(folder / "token"), "retry_min_s": 0.05, "retry_max_s": 1.0}
        self._config = msgspec.convert(table | {"rate_kib_s": 1_048_576} | more, ReportsConfig)
        self.laid: dict[str, bytes] = {}
        self._upload: Reports | None = None

    def lay(self, name: str, *, frames: int = 3, size: int = 20_000) -> None:
        """A procedure that is over: its pictures first, then its record, as a core does."""
        made, pictures = procedure(self.device, name, frames=frames, size=size)
        body = msgspec.json.encode(made)
        scratch = self._spool.parent / f"{name}.new"
        scratch.mkdir()
        for number, jpeg in enumerate(pictures):
            (scratch / f"polyp-{number:04d}.jpg").write_bytes(jpeg)
        (scratch / "record.json").write_bytes(body)
        scratch.rename(self._spool / name)
        self.laid[name] = body

    def start(self) -> Reports:
        self._upload = Reports(self._config, self._spool)
        return self._upload

    @property
    def sent(self) -> int:
        return self._upload.status().sent if self._upload else 0

    def said(self) -> str:
        """Faults, for a failure's message."""
        if self._upload is None:
            return "not started"
        status = self._upload.status()
        return f"{self.device}: sent {status.sent}, waiting {status.waiting}, {status.fault} {status.aside}"

    def close(self) -> None:
        if self._upload is not None:
            self._upload.close()
