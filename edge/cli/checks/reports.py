"""The report server: reached, trusted, and it knows this box by the name that this box has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import msgspec

from edge.cli.checks import times
from edge.cli.checks.trying import Advice
from edge.cli.site import Site
from edge.errors import UplinkError
from edge.uplink import credentials
from edge.uplink.config import ReportsConfig
from edge.uplink.handover import STRANGER
from edge.uplink.report_http import Box, LinkError, ReportServer

WITHIN_S = 10.0
CLOCKS_S = 60.0  # as far apart two clocks may be
_OK, _WHO = 200, 401


def report_server(site: Site, config: ReportsConfig) -> str | Advice:
    """Nothing is sent but the question. Raises UplinkError."""
    config, now = msgspec.structs.replace(config, timeout_s=WITHIN_S), datetime.now(timezone.utc)
    try:
        trusts, token = credentials.report_access(config)
        ours = times.days_left(config.certificate_file, now) if config.certificate_file else None
        with ReportServer(config, trusts, token, lambda _size: None) as server:
            box = _asked(server)
            ends_at = server.certificate_ends_at
    except (LinkError, UplinkError) as exc:
        raise UplinkError(f"{config.url}: {exc}") from exc
    if box.device != site.config.device:
        raise UplinkError(f"{config.url}: knows us as {box.device}, and this is {site.config.device}: enrol this box")
    theirs = (ends_at - now).days if ends_at else None
    named = ("its certificate", theirs), ("ours", ours)
    left = [f"{whose} {days} days" for whose, days in named if days is not None]
    found = "; ".join([f"{config.url} knows {box.device}", *left])
    remarks = list(_remarks(box, theirs, ours))
    return Advice(found, "; ".join(remarks)) if remarks else found


def _asked(server: ReportServer) -> Box:
    answer, box = server.box()
    if answer.status == _WHO:
        raise UplinkError(f"{answer.said}; `endoedge enrol` gets a new token for a code")
    if answer.status != _OK and answer.error:
        raise UplinkError(answer.said)
    if answer.status != _OK or box is None:
        raise UplinkError(f"answers {answer.status}, {STRANGER}")
    return box


def _remarks(box: Box, theirs: int | None, ours: int | None) -> Iterator[str]:
    """`theirs`, `ours`: days that a certificate has left."""
    ahead_s = (datetime.now(timezone.utc) - box.time).total_seconds()
    if abs(ahead_s) >= CLOCKS_S:
        yield f"this clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the server's; {times.ASK}"
    if theirs is not None and theirs < times.WARN_DAYS:
        yield "have the server's certificate renewed"
    if ours is not None and ours < times.WARN_DAYS:
        yield "`endoedge enrol --renew`"
