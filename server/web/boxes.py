"""Boxes as the list shows them. Pure but for the clock."""

from __future__ import annotations

import datetime

from edge.types import Struct
from server.clock import UTC
from server.listing import Box

LATELY_S = 120.0


class Seen(Struct, frozen=True, kw_only=True):
    device: str
    software: str
    ago: str
    at: str  # RFC 3339; "" never
    lately: bool


def seen(box: Box, now: datetime.datetime | None = None) -> Seen:
    moment = now or datetime.datetime.now(UTC)
    if not box.seen_at:
        return Seen(device=box.device, software=box.software, ago="never seen", at="", lately=False)
    at = datetime.datetime.fromisoformat(box.seen_at.replace("Z", "+00:00"))
    ago_s = max(0.0, (moment - at).total_seconds())
    lately = ago_s < LATELY_S
    return Seen(device=box.device, software=box.software, ago=ago(ago_s), at=box.seen_at, lately=lately)


def ago(seconds: float) -> str:
    if seconds < LATELY_S:
        return "just now"
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {name}{'' if number == 1 else 's'} ago"
    return "just now"
