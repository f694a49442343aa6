"""What the box says of itself. Nobody has to log in for these, so they show nothing of a patient and no secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from edge import release
from edge.console.box import STALE_S, Box, CoreView, ReportsView, TroubleView, UplinkView
from edge.console.commands import updates
from edge.console.commands.desk import Desk
from edge.console.job import Job, Take, child
from edge.console.text import pairs
from edge.errors import ConsoleError

_IP_WITHIN_S = 5.0


def status(desk: Desk, words: list[str]) -> Job:
    del words
    box, core, uplink = desk.box, desk.box.core(), desk.box.uplink()
    yield from pairs(("device", box.device), ("software", f"endoedge {release.version()}"))
    if safe := box.safe_reason():
        yield from pairs(("core", f"SAFE STATE, not started for now: {safe}"))
    elif isinstance(core, str):
        yield from pairs(("core", core))
    else:
        yield from pairs(("core", _alive(box.core_age_s(core), f"up {_duration(core.uptime_s)}, pid {core.pid}")))
        yield from pairs(
            ("signal", f"{core.state}{': ' + core.detail if core.detail else ''}"),
            ("analysis", f"{core.fps:.1f} frames/s, effort {core.effort}, {core.source.dropped} dropped"),
            ("model", f"{core.model.name} {core.model.version} {core.model.precision} on {core.model.backend}"),
            ("events", f"{core.events} ({core.alerts} alerts) since start, {core.waiting} not committed yet"),
            ("board", _board(core)),
            ("disk", f"{core.disk.free_mib} of {core.disk.size_mib} MiB free" if core.disk else "not read"),
        )
    if isinstance(uplink, str):
        yield from pairs(("uplink", uplink))
    else:
        yield from pairs(("uplink", _alive(box.uplink_age_s(uplink), f"pid {uplink.pid}")), ("broker", _broker(uplink)))
    yield from pairs(("outbox", _queue(box)), ("clock", _clock(box)), ("updates", updates.line(box)))
    wrong = list(faults_of(box))
    yield from pairs(("faults", f"{len(wrong)}, see `faults`" if wrong else "none"))


def watch(desk: Desk, words: list[str]) -> Job:
    del words
    yield "any key ends this"
    while True:
        core, uplink = desk.box.core(), desk.box.uplink()
        said = "core: no status" if isinstance(core, str) else _watched(desk.box, core)
        depth = "?" if isinstance(uplink, str) else f"{uplink.depth} waiting, {'up' if uplink.connected else 'DOWN'}"
        yield f"{said} | broker {depth}"
        if (yield Take(1.0)):
            return


def _watched(box: Box, core: CoreView) -> str:
    stage = core.stages.get("infer")
    infer = f" infer {stage.p50_ms:.1f} ms" if stage else ""
    stale = " STALE" if box.core_age_s(core) > STALE_S else ""
    return f"{core.state}{stale} {core.fps:.1f}/s{infer} {core.effort} events {core.events}"


def signal(desk: Desk, words: list[str]) -> Job:
    del words
    core = _needed(desk.box.core())
    source = core.source
    yield from pairs(
        ("signal", _alive(desk.box.core_age_s(core), core.state)),
        ("detail", core.detail or "-"),
        ("view", core.view or "-"),
        ("frames", f"{source.frames} analysed or offered, {core.fps:.1f} a second, in {source.memory} memory"),
        ("not offered", f"{source.dropped} dropped, {source.repeated} repeated, {source.withheld} withheld"),
        ("rebuilds", source.rebuilds),
    )
    for name, stage in core.stages.items():
        yield from pairs((f"  {name}", f"p50 {stage.p50_ms:.2f} ms, p99 {stage.p99_ms:.2f} ms"))


def faults(desk: Desk, words: list[str]) -> Job:
    del words
    found = list(faults_of(desk.box))
    yield from pairs(*found)
    yield f"faults now: {len(found) or 'none'}"
    earlier = sorted(_troubles(desk.box), key=lambda trouble: trouble.until_ns)
    for trouble in earlier:
        ago_s, lasted_s = (desk.box.clock.now_ns() - trouble.until_ns) / 1e9, trouble.until_ns - trouble.since_ns
        when = f"{_duration(ago_s)} ago" + (f", for {_duration(lasted_s / 1e9)}" if lasted_s else "")
        yield from pairs((trouble.where.rpartition("/")[2][:13], f"{when}: {trouble.what}"))
    yield f"over, since the machine started: {len(earlier) or 'none'}; the rest is in the journal: `log`"


def model(desk: Desk, words: list[str]) -> Job:
    del words
    core = _needed(desk.box.core())
    yield from pairs(
        ("model", f"{core.model.name} {core.model.version}"),
        ("runs on", f"{core.model.backend}, {core.model.precision}"),
        ("sha256", core.model.sha256),
        ("pipeline", core.pipeline),
        ("its sha256", core.pipeline_sha256),
    )


def outbox(desk: Desk, words: list[str]) -> Job:
    del words
    uplink = desk.box.uplink()
    yield from pairs(("outbox", desk.box.outbox), ("waiting", _queue(desk.box)))
    if isinstance(uplink, str):
        yield from pairs(("uplink", uplink))
        return
    yield from pairs(("broker", _broker(uplink)), ("delivered", f"{uplink.delivered}, {uplink.refused} refused"))
    for topic, why in uplink.waiting.items():
        yield from pairs((f"  {topic.rpartition('/')[2]}", why))


def procedure(desk: Desk, words: list[str]) -> Job:
    del words
    core = _needed(desk.box.core())
    yield from pairs(("view", core.view or "-"), ("landmarks", ", ".join(core.landmarks) or "none reached"))
    spool, uplink = core.spool, desk.box.uplink()
    kept = f"kept; {spool.procedures} on this box, {spool.waiting} not written yet" if spool else "not kept ([record])"
    yield from pairs(("record", kept))
    reports = None if isinstance(uplink, str) else uplink.reports
    yield from pairs(("reports", _reports(reports) if reports else "no report server"))


def network(desk: Desk, words: list[str]) -> Job:
    del words
    box = desk.box
    ended = yield from child([*box.ip, "-j", "addr"], box.clock, _IP_WITHIN_S)
    for interface in _decoded(ended.output, "ip -j addr"):
        addresses = [f"{one.get('local', '?')}/{one.get('prefixlen', '?')}" for one in interface.get("addr_info", [])]
        mac = str(interface.get("address", ""))
        said = f"{str(interface.get('operstate', '?')).lower()} {mac} {' '.join(addresses) or 'no address'}"
        yield from pairs((str(interface.get("ifname", "?"))[:13], said))
    ended = yield from child([*box.ip, "-j", "route", "show", "default"], box.clock, _IP_WITHIN_S)
    routes = [f"{one.get('gateway', '?')} over {one.get('dev', '?')}" for one in _decoded(ended.output, "ip -j route")]
    uplink = box.uplink()
    yield from pairs(
        ("default", ", ".join(routes) or "no default route"),
        ("broker", uplink if isinstance(uplink, str) else _broker(uplink)),
    )


def time(desk: Desk, words: list[str]) -> Job:
    del words
    box = desk.box
    clock = box.text("sys/class/rtc/rtc0/name")
    yield from pairs(
        ("wall clock", _clock(box)),
        ("up", _duration(box.clock.now_ns() / 1e9)),
        ("boot", box.clock.boot),
        ("battery clock", clock or "none seen"),
    )


def _decoded(output: bytes, what: str) -> list[dict[str, Any]]:
    try:
        return msgspec.json.decode(output or b"[]", type=list[dict[str, Any]])
    except msgspec.DecodeError as exc:
        last = output.decode("utf-8", "replace").strip().splitlines()
        raise ConsoleError(f"{what}: not understood: {last[-1] if last else exc}") from exc


def _needed(core: CoreView | str) -> CoreView:
    if isinstance(core, str):
        raise ConsoleError(f"core {core}")
    return core


def faults_of(box: Box) -> Iterator[tuple[str, str]]:
    """Where, and what is wrong."""
    if box.config_error:
        yield "configuration", box.config_error
    core, uplink, queue = box.core(), box.uplink(), box.queue()
    if safe := box.safe_reason():
        yield "core", f"safe state: {safe}"
    elif isinstance(core, str):
        yield "core", core
    else:
        yield from _core_faults(box, core)
    if isinstance(uplink, str):
        yield "uplink", uplink
    else:
        if box.uplink_age_s(uplink) > STALE_S:
            yield "uplink", f"has said nothing for {_duration(box.uplink_age_s(uplink))}"
        if not uplink.connected or uplink.last_error:
            yield "broker", uplink.last_error or "not connected"
        if uplink.metrics_push:
            yield "metrics", f"not pushed: {uplink.metrics_push}"
        if uplink.reports and uplink.reports.fault:
            yield "reports", f"{uplink.reports.server}: {uplink.reports.fault}"
        if uplink.reports and uplink.reports.aside:
            yield "reports", f"{len(uplink.reports.aside)} put aside; why is in the journal: `log`"
        yield from ((topic.rpartition("/")[2], why) for topic, why in uplink.waiting.items())
    if isinstance(queue, str):
        yield "outbox", queue
    yield from updates.faults_of(box)


def _troubles(box: Box) -> Iterator[TroubleView]:
    """Those that are over."""
    for said in (box.core(), box.uplink()):
        if not isinstance(said, str):
            yield from (trouble for trouble in said.troubles if trouble.until_ns)


def _core_faults(box: Box, core: CoreView) -> Iterator[tuple[str, str]]:
    if box.core_age_s(core) > STALE_S:
        yield "core", f"has said nothing for {_duration(box.core_age_s(core))}"
    if core.state not in ("live", "ended", "starting"):
        yield "signal", f"{core.state}{': ' + core.detail if core.detail else ''}"
    if core.fault:
        yield "events", core.fault
    if core.spool and core.spool.fault:
        yield "spool", core.spool.fault
    if core.board:
        yield from (("throttled", what) for what in core.board.throttled)
        yield from (("board", what) for what in core.board.problems)


def _alive(age_s: float, otherwise: str) -> str:
    return otherwise if age_s <= STALE_S else f"STALE, has said nothing for {_duration(age_s)}; then: {otherwise}"


def _board(core: CoreView) -> str:
    if core.board is None:
        return "not read"
    rooms = [
        (zone.limit_c - zone.temperature_c, name, zone.temperature_c)
        for name, zone in core.board.zones.items()
        if zone.limit_c is not None and zone.temperature_c is not None
    ]
    nearest = "{1} {2:.0f} C, {0:.0f} below its limit".format(*min(rooms)) if rooms else "no temperature"
    held = ", ".join(core.board.throttled) or "nothing"
    return f"{core.board.model or core.board.kind}: {nearest}; throttled: {held}"


def _broker(uplink: UplinkView) -> str:
    state = "connected" if uplink.connected else "NOT connected"
    error = uplink.last_error.removeprefix(f"broker {uplink.broker}: ")
    return f"{uplink.broker} {state}{': ' + error if error else ''}"


def _reports(reports: ReportsView) -> str:
    aside = f", {len(reports.aside)} put aside" if reports.aside else ""
    return f"{reports.server}: {reports.sent} sent since start, {reports.waiting} wait{aside}"


def _queue(box: Box) -> str:
    queue = box.queue()
    if isinstance(queue, str):
        return queue
    return f"{queue.depth} messages" + (f", oldest of {queue.oldest}" if queue.oldest else "")


def _clock(box: Box) -> str:
    wall = box.clock.wall()
    kept = f"synchronised by {wall.source}" if wall.trusted else "NOT synchronised, do not believe it"
    return f"{wall} ({kept})"


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "ever"
    minutes, hours = int(seconds // 60) % 60, int(seconds // 3600)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {int(seconds) % 60:02d} s"
