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
    config = msgspec.structs.replace(config, timeout_s=WITHIN_S)
    try:
        trusts, token = credentials.report_server(config), credentials.report_token(config)
        with ReportServer(config, trusts, token, lambda _size: None) as server:
            box = _asked(server)
            ends_at = server.certificate_ends_at
    except (LinkError, UplinkError) as exc:
        raise UplinkError(f"{config.url}: {exc}") from exc
    if box.device != site.config.device:
        raise UplinkError(f"{config.url}: knows us as {box.device}, and this is {site.config.device}: enrol this box")
    now = datetime.now(timezone.utc)
    found = f"{config.url} knows {box.device}" + (f"; its certificate {(ends_at - now).days} days" if ends_at else "")
    remarks = list(_remarks(box, ends_at, now))
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


def _remarks(box: Box, ends_at: datetime | None, now: datetime) -> Iterator[str]:
    ahead_s = (now - box.time).total_seconds()
    if abs(ahead_s) >= CLOCKS_S:
        yield f"this clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the server's; {times.ASK}"
    if ends_at is not None and (ends_at - now).days < times.WARN_DAYS:
        yield "have the server's certificate renewed"
