"""What a self-test found: rows, and the one page that both `endoedge check` and the console's `selftest` show."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edge.console.text import folded

_INDENT = " " * 19
_WORDS = {True: "ok", False: "NO", None: "--"}


class Row(msgspec.Struct, frozen=True):
    """One line. `good` None: it was not tried, and `found` says why."""

    what: str
    good: bool | None
    found: str  # what there is, or what is wrong
    mend: str = ""  # what to do; beside a good row, what to do before it is one no more


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `endoedge check --json` prints last."""

    ok: bool  # no row is false
    checks: list[Row]
    exit: int
    seconds: float = 0.0  # that it took
    at_ns: int = 0  # CLOCK_MONOTONIC, when it was complete


def page(report: Report) -> Iterator[str]:
    """Lines of plain ASCII, 80 columns at most, the verdict last."""
    for row in report.checks:
        yield from folded(f"{_WORDS[row.good]:<3} {row.what:<14} {row.found}", indent=_INDENT)
        if row.mend:
            yield from folded(f"{_INDENT}{'in time' if row.good else 'to mend it'}: {row.mend}", indent=_INDENT)
    yield verdict(report)


def verdict(report: Report) -> str:
    failed, skipped = (sum(row.good is value for row in report.checks) for value in (False, None))
    tried = len(report.checks) - skipped
    left = f", {skipped} not tried" if skipped else ""
    return f"{failed} of {tried} failed{left}" if failed else f"all {tried} passed{left}"
