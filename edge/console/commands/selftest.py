"""The self-test. On a box it is a unit of its own, for it needs what the console may not have: model, network, disk.
On a desk, where no systemd takes orders, the console runs it itself.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from edge.console import bundle, redact
from edge.console.commands.desk import Desk
from edge.console.job import Job, Step, child
from edge.console.orders import order
from edge.console.report import Report, page, verdict
from edge.errors import ConsoleError

UNIT = "endoedge-selftest.service"
_WITHIN_S = 180.0


def selftest(desk: Desk, words: list[str]) -> Job:
    if words:
        raise ConsoleError("selftest takes no words")
    yield "this takes up to three minutes; ^C ends the waiting for it"
    report = yield from _by_systemd(desk) if desk.box.orders.there else _by_ourselves(desk)
    report = _cleaned(report, bundle.site(desk.box)[1])
    *rows, _ = page(report)
    yield from rows
    if not report.ok:
        raise ConsoleError(f"self-test: {verdict(report)}")
    yield f"self-test: {verdict(report)}"


def _cleaned(report: Report, unsaid: set[str]) -> Report:
    """Without secrets and a recording's name, which may stand in a row."""
    rows = [
        msgspec.structs.replace(row, found=redact.scrubbed(row.found, unsaid), mend=redact.scrubbed(row.mend, unsaid))
        for row in report.checks
    ]
    return msgspec.structs.replace(report, checks=rows)


def _by_systemd(desk: Desk) -> Generator[Step, bytes | None, Report]:
    file, asked_ns = desk.box.run_dir / "selftest.json", desk.box.clock.now_ns()
    yield from order(desk.box.orders, UNIT, desk.box.clock, _WITHIN_S)
    try:
        report = msgspec.json.decode(file.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as exc:
        raise ConsoleError(f"{file}: not understood: {exc}") from exc
    if report.at_ns < asked_ns:
        raise ConsoleError(f"{file}: is of an earlier self-test; see `log`")
    return report


def _by_ourselves(desk: Desk) -> Generator[Step, bytes | None, Report]:
    if not desk.box.check:
        raise ConsoleError("this console was started without a self-test")
    ended = yield from child(desk.box.check, desk.box.clock, _WITHIN_S)
    try:
        return msgspec.json.decode((ended.output.strip().splitlines() or [b""])[-1], type=Report)
    except msgspec.DecodeError as exc:
        raise ConsoleError(f"the self-test broke off: {ended.last_words}") from exc
