#!/usr/bin/env python3
"""How long a report's PDF takes, as the server makes it: in a process of its own, which is warm. Each one is another
report, so that none is kept from before.

    python -m tools.pdf_times [-n 20]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from server import simulate
from server.export.case import Case
from server.printing import Printers
from server.report import Drafted, Report, Sentence, Signature
from tools import export_example

WITHIN_S = 2.0
Make = Callable[[int], Case]


def draft(number: int) -> Case:
    return _case(_with(export_example.draft(), number))


def signed(number: int) -> Case:
    return _case(_with(export_example.signed(), number))


def forty(number: int) -> Case:
    """As many findings and key frames as nobody wants to have."""
    played = simulate.procedure("pdf-times", number, findings=simulate.FINDINGS_MOST)
    told = [
        {"id": f"S{n}", "section": "findings", "text": f"A possible polyp was seen at {one.best_seen_s:.0f} s.",
         "cites": (one.id,), "by": "template"}
        for n, one in enumerate(played.record.findings, start=1)
    ]  # fmt: skip
    report = Report(
        device="pdf-times",
        procedure=played.record.procedure,
        revision=1,
        language="en",
        state="final",
        drafted=Drafted(by="template"),
        sentences=msgspec.convert(told, tuple[Sentence, ...]),
        signatures=(Signature(account="etest", name="Dr. Eva Test", at="2026-03-02T10:05:11Z"),),
    )
    return Case(played.record, report, played.frames, export_example.PATIENT, "Example Hospital")


def _with(report: Report, number: int) -> Report:
    said = Sentence(id="S99", section="summary", text=f"Number {number}.", by="person", author="E. Test")
    return msgspec.structs.replace(report, sentences=(*report.sentences, said))


def _case(report: Report) -> Case:
    record, frames = export_example.example()
    patient = export_example.PATIENT if report.state != "draft" else None
    return Case(record, report, frames, patient, "Example Hospital")


def measured(make: Make, printers: Printers, count: int) -> tuple[list[float], int]:
    """Seconds of each, and bytes of the last."""
    spent, size = [], 0
    for number in range(count):
        case = make(number)
        began_s = time.perf_counter()
        size = len(printers.pdf(case))
        spent.append(time.perf_counter() - began_s)
    return spent, size


def main(arguments: list[str] | None = None) -> int:
    """1: a p95 is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=20, metavar="N", help="of each kind (default 20)")
    count = parser.parse_args(arguments).n
    printers = Printers()
    table = Table(title=f"PDF of a report, {count} of each")
    for column in ("", "first, s", "p50, s", "p95, s", "KiB"):
        table.add_column(column, justify="right" if column else "left")
    late = False
    first = draft(-1)
    began_s = time.perf_counter()
    printers.pdf(first)
    table.add_row("the process's start, with its first", f"{time.perf_counter() - began_s:.2f}", "", "", "")
    for name, make in (("draft", draft), ("signed", signed), (f"{simulate.FINDINGS_MOST} findings", forty)):
        spent, size = measured(make, printers, count)
        p50, p95 = np.percentile(spent, (50, 95))
        late |= bool(p95 > WITHIN_S)
        table.add_row(name, f"{spent[0]:.2f}", f"{p50:.2f}", f"{p95:.2f}", f"{size / 1024:.0f}")
    printers.close()
    Console().print(table)
    print(f"limit: p95 at most {WITHIN_S:g} s: {'not kept' if late else 'kept'}")
    return int(late)


if __name__ == "__main__":
    raise SystemExit(main())
