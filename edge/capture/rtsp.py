"""A tower or an encoder that streams over RTSP. Nothing is known of the cable: its pictures alone tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from edge.capture.inputs import Feed, LiveConfig, Stream, shown
from edge.capture.live import LiveSource
from edge.errors import CaptureError
from edge.types import HOST, Memory

FIRST_PICTURE_S = 10.0  # connecting, and the first key frame


class Config(LiveConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "rtsp"`. A password does not belong into this file: `password_file` holds it."""

    url: Annotated[str, msgspec.Meta(pattern="^rtsps?://")]
    user: str = ""
    password_file: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    latency_ms: Annotated[int, msgspec.Meta(ge=0, le=5000)] = 100  # what the jitter buffer may hold back


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> LiveSource:
    """`size`: (width, height) of the frames. A server that is not there is a state."""
    try:
        password = urlsplit(config.url).password
    except ValueError as exc:
        raise CaptureError(f"capture.url: is no address: {exc}") from exc
    if password:
        raise CaptureError("capture.url: has a password in it; name a file in capture.password_file instead")
    properties = {
        "location": config.url,
        "latency": config.latency_ms,
        "user-id": config.user,
        "user-pw": _password(config.password_file),
    }
    chain = f"rtspsrc name=source protocols={config.transport} ! application/x-rtp,media=video ! decodebin"
    return LiveSource(
        Stream(shown(config.url), Feed(chain, {"source": properties}), FIRST_PICTURE_S), config, size, reads
    )


def _password(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise CaptureError(f"capture.password_file: {file}: cannot be read: {exc}") from exc
