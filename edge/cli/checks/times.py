"""What time it is, and how long certificates hold by that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from edge import clock
from edge.cli.checks.trying import Advice, NotTriedError
from edge.clock import ClockStatus
from edge.errors import EdgeError, UplinkError
from edge.uplink import certificates, credentials
from edge.uplink.config import UplinkConfig

RELEASED_S = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()  # no clock that is right is before that
WARN_DAYS = 30
ASK = "timedatectl: is a time server set, and can it be reached?"


def wall_clock(told: ClockStatus | None) -> str | Advice:
    """Nothing waits for the right time, so a clock that nobody stands behind is a remark; one that is before this
    software was written is wrong. `told`: by the running core, which may ask the kernel where we may not."""
    now = clock.read()
    found = f"{datetime.fromtimestamp(now.at_s, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    if now.at_s < RELEASED_S:
        raise EdgeError(f"{found}: is wrong; dates of messages and certificates cannot be believed")
    keeper = now.status if now.trusted else told or now.status
    if not keeper.trusted:
        return Advice(f"{found}, NOT synchronised: certificates are judged by it all the same", ASK)
    return f"{found}, synchronised by {keeper.source}"


def certificate_dates(config: UplinkConfig) -> str | Advice:
    """Of the CA's file and of our own; the key belongs to ours. The broker's own is looked at when it shows it."""
    if config.tls is None:
        raise NotTriedError("[uplink.tls] is not set")
    credentials.load(config)  # files that are what they should be, and the key that of the certificate
    now = datetime.now(timezone.utc)
    days = {name: days_left(name, now) for name in filter(None, (config.tls.ca, config.tls.cert))}
    found = ", ".join(f"{Path(name).name} {left} days" for name, left in days.items())
    soon = [name for name, left in days.items() if left < WARN_DAYS]
    if soon:
        return Advice(f"left: {found}", f"renew {' and '.join(soon)} (docs/install.md), restart the uplink")
    key = "; the key fits" if config.tls.cert else ""
    return f"left: {found}{key}"


def days_left(name: str, now: datetime) -> int:
    """Of the certificate in it that ends first. Raises UplinkError."""
    left = []
    for valid in certificates.validities(Path(name)):
        wrong = list(_wrong(valid, now))
        if wrong:
            unsure = "" if clock.read().trusted else "; this clock is not synchronised"
            raise UplinkError(f"{name}: {wrong[0]}{unsure}")
        left.append((valid.not_after - now).days)
    return min(left)


def _wrong(valid: certificates.Validity, now: datetime) -> Iterator[str]:
    if now < valid.not_before:
        yield f"is not valid before {valid.not_before:%Y-%m-%d %H:%M} UTC"
    if now > valid.not_after:
        yield f"expired {valid.not_after:%Y-%m-%d %H:%M} UTC"
