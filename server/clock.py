"""What time it is, as the tables write it."""

from __future__ import annotations

import datetime

UTC = datetime.timezone.utc


def now() -> str:
    """RFC 3339, UTC, six decimals: sorts as text."""
    return text(datetime.datetime.now(UTC))


def text(moment: datetime.datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def later(seconds: float) -> str:
    """So long from now; earlier when negative."""
    return text(datetime.datetime.now(UTC) + datetime.timedelta(seconds=seconds))


def of(seconds: float) -> str:
    """Since 1970."""
    return text(datetime.datetime.fromtimestamp(seconds, UTC))


def age(at: str) -> float:
    """Of a time in a table, s."""
    moment = datetime.datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return (datetime.datetime.now(UTC) - moment).total_seconds()
