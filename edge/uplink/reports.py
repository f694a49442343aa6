"""Procedures' records and key frames → the report server. Off unless `[uplink.reports]` names one.

A thread of its own, one upload at a time, oldest first, at a rate that shrinks while messages wait: alerts go first.
Nothing is removed here. What the server has is marked (`edge/spooled.py`), and the core lets go of it later; a server
that is away, a token that is not there and a full disk are states, told of and tried again for ever. A record that the
server will not take is put aside with its reason, the others go on; it is tried again when the uplink starts anew.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import msgspec

from edge import clock
from edge.errors import UplinkError
from edge.procedure import Record
from edge.spooled import RECORD_MOST
from edge.uplink import credentials
from edge.uplink.backoff import Backoff
from edge.uplink.config import ReportsConfig
from edge.uplink.handover import Answer, Aside, Later, Named, Post, Put, Sent, Upload, without_lost
from edge.uplink.report_http import LinkError, Pacer, ReportServer, StoppedError
from edge.uplink.shelf import Shelf
from edge.uplink.wire import ReportsStatus

log = logging.getLogger(__name__)

LOOK_S = 2.0  # how often the spool is looked at
BESIDE_MESSAGES = 10  # while messages wait, the rate is so many times smaller
LEAVE_WITHIN_S = 1.0  # a request that hangs longer is left behind when the process ends


class Reports:
    """`busy` and `close` belong to the uplink's thread, the rest to the one that sends."""

    def __init__(self, config: ReportsConfig, spool: Path) -> None:
        self.busy = False  # messages wait for the broker
        self._config, self._shelf = config, Shelf(spool)
        self._backoff = Backoff(config.retry_min_s, config.retry_max_s)
        self._stop = threading.Event()
        self._pace = Pacer(self._rate, lambda seconds: clock.wait(self._stop, seconds))
        self._fault, self._permanent, self._waiting = "", False, 0
        self._sent = self._frames = self._bytes = 0
        self._aside: dict[str, str] = {}  # replaced, never changed: two threads read it
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
        self._thread.start()

    def status(self) -> ReportsStatus:
        """Callable from any thread."""
        return ReportsStatus(
            server=self._config.url,
            waiting=self._waiting,
            sent=self._sent,
            frames=self._frames,
            bytes=self._bytes,
            aside=self._aside,
            fault=self._fault,
            permanent=self._permanent,
        )

    def close(self) -> None:
        self._stop.set()
        self._thread.join(LEAVE_WITHIN_S)

    # ---------------------------------------------------------------------------------- its own thread

    def _run(self) -> None:
        while not clock.wait(self._stop, self._turn()):
            pass

    def _turn(self) -> float:
        """At most one upload; how long to wait then."""
        try:
            due = [(name, record) for name, record in self._shelf.due() if name not in self._aside]
        except OSError as exc:
            return self._later(Later(f"the spool cannot be read: {exc.strerror}"))
        self._waiting = len(due)
        if not due:
            self._note("")
            return LOOK_S
        name, record = due[0]
        try:
            end = Aside(record) if isinstance(record, str) else self._hand_over(record)
        except FileNotFoundError:
            return 0.0  # the core has made room meanwhile, and says so
        except OSError as exc:
            end = Later(f"procedure {name} cannot be read: {exc.strerror}")
        if isinstance(end, Later):
            return self._later(end)
        if isinstance(end, Aside):
            log.error("procedure %s is put aside: %s: %s", name, self._config.url, end.reason)
            self._aside = self._aside | {name: end.reason}
            return 0.0
        return self._mark(name, record.revision if isinstance(record, Record) else 0)

    def _mark(self, name: str, revision: int) -> float:
        self._sent += 1
        self._waiting -= 1
        self._backoff.reset()
        self._note("")
        try:
            self._shelf.sent(name, revision)
        except OSError as exc:  # by the next uplink it is offered once more, which does no harm
            log.warning("procedure %s is sent and cannot be marked so: %s", name, exc.strerror)
        return 0.0

    def _hand_over(self, record: Record) -> Sent | Aside | Later:
        """Raises OSError: the record's files."""
        pictures = self._shelf.frames(record.procedure)
        whole = without_lost(record, lambda frame: frame.sha256 in pictures)
        if whole != record and self._shelf.going(record.procedure):
            raise FileNotFoundError
        # As it lies there: another version of this software would write other bytes, and a server that has this record
        # already (its answer was lost) takes no other document in its place.
        body = self._shelf.content(record.procedure) if whole == record else msgspec.json.encode(whole)
        if len(body) > RECORD_MOST:
            return Aside(f"its record is larger than {RECORD_MOST >> 20} MiB")
        upload = Upload(Named.of(whole), [frame.sha256 for frame in whole.key_frames()])
        try:
            trusts, token = credentials.report_access(self._config)
            with ReportServer(self._config, trusts, token, self._pace) as server:
                while isinstance(upload.next, Post | Put):
                    upload.answered(self._ask(server, upload.next, body, pictures))
        except UplinkError as exc:  # read anew each time: somebody may have mended it
            return Later(str(exc), permanent=True)
        except LinkError as exc:
            return Later(str(exc), permanent=exc.permanent)
        except StoppedError:
            return Later(self._fault, self._permanent)
        return upload.next

    def _ask(self, server: ReportServer, step: Post | Put, body: bytes, pictures: dict[str, Path]) -> Answer:
        content = body if isinstance(step, Post) else pictures[step.sha256].read_bytes()
        answer = server.post(content) if isinstance(step, Post) else server.put(step.sha256, content)
        self._bytes += len(content)
        self._frames += isinstance(step, Put) and answer.taken == step.sha256
        return answer

    def _rate(self) -> float:
        """Bytes a second."""
        return self._config.rate_kib_s * 1024 / (BESIDE_MESSAGES if self.busy else 1)

    def _later(self, end: Later) -> float:
        self._note(end.reason, end.permanent)
        return self._backoff.next(slowly=end.permanent)

    def _note(self, fault: str, permanent: bool = False) -> None:
        """A change is one line in the log."""
        if fault and fault != self._fault:
            log.log(logging.ERROR if permanent else logging.WARNING, "report server %s: %s", self._config.url, fault)
        elif self._fault and not fault:
            log.info("report server %s: works again", self._config.url)
        self._fault, self._permanent = fault, permanent


def open_reports(config: ReportsConfig | None, spool: Path | None) -> Reports | None:
    """None where the site has no report server."""
    return Reports(config, spool) if config and spool else None
