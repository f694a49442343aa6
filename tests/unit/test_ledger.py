"""Events that cannot be committed wait, in order, and nothing is said to be safe before it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from edge.errors import OutboxBrokenError, OutboxError, OutboxFullError
from edge.ledger import BATCH, Ledger
from edge.messages import Alert, Event, Message, Priority, ProcedureStarted


class Disk:
    """A store whose disk fills and empties. `opened` counts handles."""

    def __init__(self) -> None:
        self.committed: list[Event] = []
        self.fault: OutboxError | None = None
        self.opened = self.tries = 0
        self.room = 10**9  # transactions that still fit

    def open(self) -> Disk:
        self.opened += 1
        if isinstance(self.fault, OutboxBrokenError):
            raise self.fault
        return self

    def put(self, events: Sequence[Event]) -> list[Message]:
        self.tries += 1
        if self.fault:
            raise self.fault
        if not self.room:
            raise OutboxFullError("full")
        self.room -= 1
        self.committed += events
        return []

    def close(self) -> None:
        pass


def event(number: int) -> Event:
    return ProcedureStarted(procedure=str(number), captured_ns=number, media_ns=number)


ALERT = Alert(kind="polyp", priority=Priority.HIGH, text="!", captured_ns=0, media_ns=0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now_ns = 10**12

        def forward(self, seconds: float) -> None:
            self.now_ns += int(seconds * 1e9)

    clock = Clock()
    monkeypatch.setattr("edge.status.time.monotonic_ns", lambda: clock.now_ns)
    return clock


def test_straight_through(clock: Any) -> None:
    disk = Disk()
    ledger = Ledger(disk.open)
    ledger.put([])
    ledger.put([event(1), ALERT])
    assert disk.committed == [event(1), ALERT]
    assert (ledger.events, ledger.alerts, ledger.waiting, ledger.fault) == (2, 1, 0, "")


@pytest.mark.parametrize("fault", [OutboxFullError("disk full"), OutboxBrokenError("damaged")])
def test_waits_and_comes_back_in_order(clock: Any, fault: OutboxError) -> None:
    disk = Disk()
    ledger = Ledger(disk.open)
    disk.fault = fault
    for number in range(5):
        ledger.put([event(number)])
        clock.forward(0.4)
    assert disk.committed == []
    assert (ledger.waiting, ledger.events, ledger.fault) == (5, 0, str(fault))
    disk.fault = None
    clock.forward(1.0)
    ledger.put([])
    assert disk.committed == [event(number) for number in range(5)]
    assert (ledger.waiting, ledger.events, ledger.fault) == (0, 5, "")


def test_one_try_a_second(clock: Any) -> None:
    disk = Disk()
    ledger = Ledger(disk.open)
    disk.fault = OutboxFullError("disk full")
    ledger.put([event(0)])
    before = disk.tries
    for _ in range(50):
        ledger.put([event(1)])
        clock.forward(0.01)
    assert disk.tries == before
    clock.forward(1.0)
    ledger.put([])
    assert disk.tries == before + 1


def test_a_full_outbox_stays_open_and_a_broken_one_is_opened_anew(clock: Any) -> None:
    """Closing a full one would give its reserved room on the disk away."""
    disk = Disk()
    ledger = Ledger(disk.open)
    for fault, opened in ((OutboxFullError("full"), 1), (OutboxBrokenError("damaged"), 1)):
        disk.fault = fault
        clock.forward(1.1)
        ledger.put([event(0)])
        assert disk.opened == opened
    disk.fault = None
    clock.forward(1.1)
    ledger.put([])
    assert disk.opened == 2
    assert len(disk.committed) == 2


def test_a_long_wait_is_committed_in_pieces(clock: Any) -> None:
    disk = Disk()
    ledger = Ledger(disk.open)
    disk.fault = OutboxFullError("full")
    many = [event(number) for number in range(BATCH * 2 + 5)]
    ledger.put(many)
    disk.fault, disk.room = None, 1
    assert not ledger.flush()
    assert disk.committed == many[:BATCH]
    assert ledger.waiting == BATCH + 5
    disk.room = 99
    assert ledger.flush()
    assert disk.committed == many


def test_flush_tries_at_once_and_says_the_truth(clock: Any) -> None:
    disk = Disk()
    ledger = Ledger(disk.open)
    disk.fault = OutboxFullError("disk full")
    ledger.put([event(0)])
    assert not ledger.flush()
    disk.fault = None
    assert ledger.flush()
    assert disk.committed == [event(0)]


def test_wrong_from_the_start_is_an_error() -> None:
    disk = Disk()
    disk.fault = OutboxBrokenError("not an outbox")
    with pytest.raises(OutboxBrokenError, match="not an outbox"):
        Ledger(disk.open)
