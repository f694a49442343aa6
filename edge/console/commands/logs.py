"""What the box has written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from edge.console import bundle, redact
from edge.console.commands.desk import Desk
from edge.console.job import Job, child
from edge.console.text import folded
from edge.errors import ConsoleError

LINES, LINES_MOST = 20, 500
_JOURNAL_WITHIN_S = 10.0
_PRIORITIES = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")


def log(desk: Desk, words: list[str]) -> Job:
    number = words[0] if words else str(LINES)
    if len(words) > 1 or not number.isdecimal() or not 1 <= int(number) <= LINES_MOST:
        raise ConsoleError(f"expected a number of lines, 1 to {LINES_MOST}")
    ended = yield from child([*desk.box.journal_command, "-n", number], desk.box.clock, _JOURNAL_WITHIN_S, 1 << 20)
    records, (_, secrets) = list(journal_records(ended.output)), bundle.site(desk.box)
    for record in records:
        yield from folded(redact.scrubbed(record_line(record), secrets), indent="    ")
    if ended.code:
        raise ConsoleError(f"journalctl: {ended.last_words}")
    yield f"{len(records)} lines" + (", there were more than fit" if ended.cut else "")


def journal_records(output: bytes) -> Iterator[dict[str, Any]]:
    """`journalctl -o json`: one object a line; what is none (a warning of its own) is passed over."""
    for line in output.splitlines():
        try:
            record = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(record, dict):
            yield record


def record_line(record: dict[str, Any]) -> str:
    """Time since the machine started, who, how bad, what. Wall time may be wrong, this cannot be."""
    since_s = int(record.get("__MONOTONIC_TIMESTAMP") or 0) / 1e6
    unit = str(record.get("_SYSTEMD_UNIT") or record.get("SYSLOG_IDENTIFIER") or "?").removesuffix(".service")
    priority = str(record.get("PRIORITY", "6"))
    word = _PRIORITIES[int(priority)] if priority in "01234567" and len(priority) == 1 else "?"
    return f"{since_s:10.3f} {unit.removeprefix('endoedge-')} {word}: {_message(record.get('MESSAGE'))}"


def _message(message: Any) -> str:
    """journalctl gives text, or a list of bytes where it is no UTF-8."""
    if isinstance(message, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in message):
        return bytes(message).decode("utf-8", "replace")
    return str(message)
