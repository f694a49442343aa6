"""The support bundle, over the line."""

from __future__ import annotations

from collections.abc import Generator

from edge.audit import files
from edge.console import bundle
from edge.console.bundle import Bundle
from edge.console.commands.desk import Desk
from edge.console.commands.logs import journal_records, record_line
from edge.console.commands.state import faults_of
from edge.console.job import Job, Step, child
from edge.console.text import pairs
from edge.console.ymodem import START_S, Sender
from edge.errors import ConsoleError

_JOURNAL_LINES, _JOURNAL_BYTES, _JOURNAL_WITHIN_S = 5000, 8 << 20, 30.0
_WARNING = "4"


def support(desk: Desk, words: list[str]) -> Job:
    if words:
        raise ConsoleError("support takes no words")
    made = yield from _bundle(desk)
    yield from pairs(("file", made.name), ("bytes", len(made.content)), ("sha256", made.sha256))
    yield f"start your YMODEM receiver (`rb`) within {START_S:.0f} s; ^C ends this"
    yield from Sender(desk.box.clock).send(made.name, made.content)
    yield ""
    yield f"sent; compare: sha256sum {made.name}"


def _bundle(desk: Desk) -> Generator[Step, bytes | None, Bundle]:
    """A journal that cannot be read is said in its place: the rest is worth having without it."""
    command = [*desk.box.journal_command, "-n", str(_JOURNAL_LINES)]
    journal, warnings = [], []
    try:
        ended = yield from child(command, desk.box.clock, _JOURNAL_WITHIN_S, _JOURNAL_BYTES)
        for record in journal_records(ended.output):
            journal.append(record_line(record))
            if str(record.get("PRIORITY", "6")) <= _WARNING:
                warnings.append(journal[-1])
        if ended.code:
            journal.append(f"journalctl: {ended.last_words}")
    except ConsoleError as exc:
        journal.append(str(exc))
    now = [f"{where}: {what}" for where, what in faults_of(desk.box)]
    audit = b"".join(path.read_bytes() for path in files(desk.audit.folder)[-2:])
    return bundle.make(desk.box, journal, warnings, now, audit)
