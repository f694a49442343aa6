"""How the server is: `/alive`, `/health`, `/metrics`, and what `endoedge-server check` says of it.

`/alive`: this process answers; nothing else is asked. `/health`: 503 while this process cannot take what a box sends
(database, tables, place for key frames). What other processes owe (no worker, old drafts, refused deliveries) is a
warning with 200: a web that is taken out because no worker runs would make boxes wait, too. Why it is so is told to
this machine, or to who has the token of `http.metrics_token_file`, and so is `/metrics`.
"""

from __future__ import annotations

import hmac
import ipaddress
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from edge import __version__
from edge.types import Struct
from server import clock
from server.config import Config
from server.errors import RefusedError, ServerError
from server.keep import Keep
from server.store.database import Database
from server.store.migrate import behind
from server.store.tables import boxes, deliveries, listed, undrafted
from server.worker import seats_taken

FRESH_S = 1.0  # what was found is told again for so long
LATE_S = 600.0  # a record without a draft
SEEN_S = 600.0  # a box that asked for anything within so long is counted as seen
TARGETS = ("pacs", "stow", "fhir")

router = APIRouter()


class Figures(Struct, frozen=True, kw_only=True):
    """From the database."""

    workers: int
    undrafted: int
    oldest_undrafted_s: float
    unsigned: int  # drafts that wait for a person
    boxes: int  # that may come in
    boxes_seen: int
    waiting: dict[str, int]  # deliveries by target
    refused: dict[str, int]


class Health(Struct, frozen=True, kw_only=True):
    ok: bool
    reasons: tuple[str, ...] = ()  # why this process cannot serve
    warnings: tuple[str, ...] = ()
    figures: Figures | None = None  # None: the database is away


def look(config: Config, database: Database, keep: Keep) -> Health:
    """At what is there now."""
    reasons: list[str] = []
    figures = None
    try:
        if late := behind(database):
            reasons.append(late)
        else:
            figures = figures_of(config, database)
    except ServerError as exc:
        reasons.append(str(exc))
    try:
        keep.prove()
    except ServerError as exc:
        reasons.append(str(exc))
    warnings = tuple(_warnings(figures)) if figures else ()
    return Health(ok=not reasons, reasons=tuple(reasons), warnings=warnings, figures=figures)


def figures_of(config: Config, database: Database) -> Figures:
    """Raises ServerError."""
    with database.read() as connection:
        owed, oldest = connection.execute(select(func.count(), func.min(undrafted.c.received_at))).one()
        known = boxes.c.revoked_at.is_(None)
        seen = boxes.c.seen_at >= clock.later(-SEEN_S)
        return Figures(
            workers=len(seats_taken(database, config.folder / "workers")),
            undrafted=owed,
            oldest_undrafted_s=clock.age(oldest) if oldest else 0.0,
            unsigned=_count(connection, listed.c.report == "draft"),
            boxes=_count(connection, known),
            boxes_seen=_count(connection, known, seen),
            waiting=_deliveries(connection, ("waiting", "sending")),
            refused=_deliveries(connection, ("refused",)),
        )


def _count(connection: Connection, *which: object) -> int:
    return int(connection.execute(select(func.count()).where(*which)).scalar_one())  # type: ignore[arg-type]


def _deliveries(connection: Connection, states: tuple[str, ...]) -> dict[str, int]:
    query = select(deliveries.c.target, func.count()).where(deliveries.c.state.in_(states))
    found = {row.target: row[1] for row in connection.execute(query.group_by(deliveries.c.target))}
    return {target: found.get(target, 0) for target in TARGETS}


def _warnings(figures: Figures) -> Iterator[str]:
    if not figures.workers:
        yield "no worker runs: nothing is drafted and nothing delivered (`endoedge-server work`)"
    if figures.oldest_undrafted_s > LATE_S:
        yield f"{figures.undrafted} records wait for a draft, the oldest for {figures.oldest_undrafted_s:.0f} s"
    for target, count in figures.refused.items():
        if count:
            yield f"{count} deliveries were refused by {target}, and wait for a person"


class Watch:
    """What `look` found, at most `FRESH_S` old: who asks often costs the database nothing."""

    def __init__(self, config: Config, database: Database, keep: Keep) -> None:
        self._asked = (config, database, keep)
        self._lock, self._found, self._until_s = threading.Lock(), Health(ok=False), 0.0

    def health(self) -> Health:
        """Callable from any thread; one of them looks."""
        with self._lock:
            if time.monotonic() >= self._until_s:
                self._found = look(*self._asked)
                self._until_s = time.monotonic() + FRESH_S
            return self._found


# --------------------------------------------------------------------------------------------------- routes


def watch(request: Request) -> Watch:
    state = request.app.state
    if not hasattr(state, "watch"):
        state.watch = Watch(state.config, state.database, state.keep)
    found: Watch = state.watch
    return found


def is_trusted(request: Request) -> bool:
    """This machine, with no proxy in between, or who has the token."""
    sent = request.headers.get("authorization", "")
    if token := _token(request.app.state.config):
        return hmac.compare_digest(sent.encode("utf-8", "replace"), f"Bearer {token}".encode())
    forwarded = any(name in request.headers for name in ("x-forwarded-for", "forwarded", "x-real-ip"))
    try:
        return not forwarded and ipaddress.ip_address(request.client.host if request.client else "").is_loopback
    except ValueError:
        return False


def _token(config: Config) -> str:
    if not config.http.metrics_token_file:
        return ""
    try:
        return Path(config.http.metrics_token_file).read_text(encoding="utf-8").strip() or "\0"
    except (OSError, UnicodeDecodeError):
        return "\0"  # that nobody can send


def trusted(request: Request) -> None:
    if not is_trusted(request):
        raise RefusedError("figures are for this machine, or for who has the token of http.metrics_token_file", 403)


trusted.__endoedge_guard__ = "metrics"  # type: ignore[attr-defined]


@router.get("/alive", include_in_schema=False)
async def alive() -> Response:
    return PlainTextResponse("alive\n")


@router.get("/health", include_in_schema=False)
def health(request: Request) -> Response:
    found = watch(request).health()
    told: dict[str, object] = {"ok": found.ok}
    if is_trusted(request):
        told |= {"reasons": found.reasons, "warnings": found.warnings}
    return JSONResponse(told, 200 if found.ok else 503)


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request, _: Annotated[None, Depends(trusted)]) -> Response:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families(watch(request).health()))
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class Families(Collector):
    """Without the database: `endoedge_server_up` 0, and nothing that is not known."""

    def __init__(self, found: Health) -> None:
        self._found = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        info = GaugeMetricFamily("endoedge_server_info", "This program.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield _gauge("up", "1: this process can take what a box sends.", float(self._found.ok))
        figures = self._found.figures
        if figures is None:
            return
        for name, text in _GAUGES.items():
            yield _gauge(name, text, float(getattr(figures, name)))
        for state, counts in (("waiting", figures.waiting), ("refused", figures.refused)):
            family = GaugeMetricFamily(
                f"endoedge_server_deliveries_{state}", f"Deliveries, {state}.", labels=["target"]
            )
            for target, count in counts.items():
                family.add_metric([target], count)
            yield family


_GAUGES = {
    "workers": "Workers that have a seat.",
    "undrafted": "Records without a draft.",
    "oldest_undrafted_s": "Age of the oldest of them, s.",
    "unsigned": "Drafts that wait for a person.",
    "boxes": "Boxes that may come in.",
    "boxes_seen": "Of these: seen within ten minutes.",
}


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    unit = name.removesuffix("_s") + "_seconds" if name.endswith("_s") else name
    return GaugeMetricFamily(f"endoedge_server_{unit}", text, value=value)
