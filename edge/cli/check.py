"""Prove that this box can work before it has to: configuration, machine, model, GStreamer, a frame, broker, outbox.
With --deep also that it does: the phantom through the engine, a message to itself, memory, disk, clock, certificates,
serial line, watchdog. Beside a running service it takes nothing from it but time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge import status
from edge.cli import assemble, targets
from edge.cli.checks import broker, line, machine, model, reports, slots, stores, times
from edge.cli.checks.trying import NotTriedError, tried
from edge.cli.checks.watchdog import MEND as WATCHDOG_MEND
from edge.cli.checks.watchdog import watchdog
from edge.cli.site import Site
from edge.clock import ClockStatus
from edge.console.report import Report, Row, page
from edge.errors import CaptureError, ConfigError, UsageError
from edge.status import CoreStatus
from edge.types import Frame, Model, SignalState, Struct

HELP = "prove that configuration, model, GStreamer, broker and outbox work"
LIVE_WITHIN_S = 12.0  # a search for the field that finds nothing says so after ten
RUNNING_NS = 5_000_000_000  # a status that was written so lately is of a running core
NICER = 10  # of 19: a box that is at work goes before


class How(Struct, frozen=True, kw_only=True):
    deep: bool = False
    beside: bool = False  # the service has the devices: what it says of them is all that may be had
    serial: str = ""  # a port with a loopback plug


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, default=Path("/etc/endoedge/endoedge.toml"), metavar="FILE")
    parser.add_argument("--deep", action="store_true", help="the self-test: also what takes seconds, and a message")
    parser.add_argument("--serial", default="", metavar="PORT", help="deep: a line with a loopback plug")
    parser.add_argument("--beside", action="store_true", help="open neither camera nor outbox: ask the running core")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the page")
    parser.add_argument("--to", type=Path, metavar="FILE", help="the JSON object into this file, too")


def main(options: argparse.Namespace) -> int:
    how = How(deep=options.deep, beside=options.beside, serial=options.serial)
    if how.deep:
        with contextlib.suppress(OSError):  # forbidden in a unit that has been made nice already
            os.nice(NICER)
    begun = time.monotonic()
    rows = list(check(options.config, how))
    code = 1 if any(row.good is False for row in rows) else 0
    seconds = round(time.monotonic() - begun, 1)
    report = Report(ok=code == 0, checks=rows, exit=code, seconds=seconds, at_ns=time.monotonic_ns())
    if options.to:
        _keep(options.to, report)
    if options.json:
        print(msgspec.json.encode(report).decode())
    else:
        print("\n".join(page(report)))
    return code


def _keep(path: Path, report: Report) -> None:
    try:
        status.write(path, report)
    except OSError as exc:
        raise UsageError(f"--to {path}: cannot be written: {exc.strerror}") from exc


def check(file: Path, how: How | None = None) -> Iterator[Row]:
    """All rows, in the order in which a start needs them; later ones are left out when they cannot be tried."""
    how = how or How()
    yield machine.gstreamer()
    core: CoreStatus | None = None
    try:
        site = assemble.load_site(file)
    except ConfigError as exc:
        yield Row("configuration", False, str(exc), "mend the named key")
    else:
        yield Row("configuration", True, f"{file}, pipeline {site.pipeline.name}")
        core = running(site)
        yield from _of_the_site(site, core, how)
    if how.deep:
        yield from _of_the_machine(core.clock if core else None)


def _of_the_site(site: Site, core: CoreStatus | None, how: How) -> Iterator[Row]:
    yield from targets.rows(site.config)
    loaded, rows = model.rows(site, how.deep)
    yield from rows
    yield _capture(site, loaded, core, how)
    mend = "make the folder writable for the service, or free disk space"
    yield tried("outbox", lambda: stores.outbox(site, how.beside or core is not None), mend)
    ask, mend = (broker.round_trip if how.deep else broker.greeting), "see [uplink]; is the broker running?"
    yield tried("broker", lambda: ask(site), mend)
    if (configured := site.uplink.reports) is not None:
        mend = "see [uplink.reports] and docs/install.md; what waits for it is kept"
        yield tried("report server", lambda: reports.report_server(site, configured), mend)
    if how.deep:
        mend = "renew the named file (docs/install.md), restart the uplink"
        yield tried("certificates", lambda: times.certificate_dates(site.uplink), mend)
        mend = "free space, or make [outbox] or [record] max_mib smaller; a slow disk: replace it"
        yield tried("disk", lambda: stores.disk(site), mend)
        yield _line(site, how)


def _of_the_machine(told: ClockStatus | None) -> Iterator[Row]:
    yield tried("memory", stores.memory, "end what else runs here; restart; have the memory looked at")
    yield tried("clock", lambda: times.wall_clock(told), times.ASK)
    jetson = targets.is_jetson()
    yield tried("watchdog", lambda: watchdog(jetson=jetson), WATCHDOG_MEND)
    yield slots.row(jetson=jetson)


def running(site: Site) -> CoreStatus | None:
    core = status.read(site.status_path, CoreStatus)
    fresh = core is not None and time.monotonic_ns() - core.updated_ns < RUNNING_NS
    return core if core is not None and fresh and not core.finished else None


def _capture(site: Site, loaded: Model | None, core: CoreStatus | None, how: How) -> Row:
    """What the source says of itself once it is live; a running core is asked instead, for it has the device."""

    def look() -> str:
        if core is not None:
            if core.state is not SignalState.LIVE:
                raise CaptureError(f"the running core says {core.state.value}: {core.detail}")
            return f"the running core is live, {core.fps:.1f} frames a second"
        if how.beside:
            raise NotTriedError(status.safe_reason(site.safe_path) or "the core does not run")
        if loaded is None:
            raise NotTriedError("there is no model to capture for")
        return _first_frame(site, loaded.size)

    return tried("capture", look, "see [capture] and docs/capture.md")


def _first_frame(site: Site, size: tuple[int, int]) -> str:
    source = assemble.open_source(site, size)
    state, detail, deadline = SignalState.STARTING, "", time.monotonic() + LIVE_WITHIN_S
    try:
        while time.monotonic() < deadline:
            item = source.next(0.25)
            if isinstance(item, Frame):
                item.release()
                return source.describe()
            state, detail = item.state, item.detail
            if item.final:
                break
    finally:
        source.close()
    raise CaptureError(f"{state.value} after {LIVE_WITHIN_S:.0f} s: {detail or source.describe()}")


def _line(site: Site, how: How) -> Row:
    config = site.config.console
    look = (lambda: line.loopback(how.serial, config.baud)) if how.serial else (lambda: line.console_port(config))
    return tried("serial line", look, "is it free, and is RX joined to TX?")
