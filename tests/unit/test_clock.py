"""The wall clock may say what it likes: what is trusted of it, and that nothing else goes by it."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import clock
from edge.clock import Kernel, Moment, Wall, elapsed_s, judge
from edge.messages import Message
from edge.outbox import Outbox, OutboxReader
from edge.stamp import committed, stamped
from tests.support.delivery import alert

SYNCED, ADRIFT = Kernel(True, 0.02), Kernel(False, 16.0)
TIMESYNC, CHRONY, PTP = "run/systemd/timesync/synchronized", "run/chrony", "run/ptp4l"
BOOT, OTHER = "boot-1", "boot-0"
YEAR_2200_S = 7_258_118_400
ON_A_BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
walls = st.builds(Wall, st.floats(1.0, YEAR_2200_S), st.booleans())


def marks(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("kernel", "there", "trusted", "source"),
    [
        (SYNCED, (TIMESYNC,), True, "systemd-timesyncd"),
        (SYNCED, (CHRONY,), True, "chrony"),
        (SYNCED, (PTP,), True, "ptp"),
        (SYNCED, (), True, "other"),
        (ADRIFT, (TIMESYNC, CHRONY, PTP), False, "none"),  # somebody has set the clock since, or they hear nothing
        (ADRIFT, (), False, "none"),
        (None, (TIMESYNC,), True, "systemd-timesyncd"),
        (None, (CHRONY, PTP), False, "none"),  # they run, and nobody can say whether they know the time
    ],
)
def test_who_stands_behind_the_clock(
    tmp_path: Path, kernel: Kernel | None, there: tuple[str, ...], trusted: bool, source: str
) -> None:
    wall = judge(1.0, kernel, marks(tmp_path, *there))
    assert (wall.trusted, wall.source) == (trusted, source)
    assert wall.error_s == (0.02 if kernel is SYNCED else None)


def test_the_kernel_answers_here() -> None:
    """Its reckoning of the error is 16 s at most (NTP_PHASE_LIMIT), in a structure that we have laid out right."""
    kernel = clock.ask_kernel()
    if kernel is None:
        pytest.skip("a sandbox forbids adjtimex")
    assert 0 <= kernel.error_s <= 16
    assert clock.read().trusted is kernel.synchronised


@ON_A_BUSY_MACHINE
@given(walls)
def test_a_wall_time_is_read_as_it_was_written(wall: Wall) -> None:
    again = Wall.parse(str(wall), wall.trusted)
    assert again.at_s == pytest.approx(wall.at_s, abs=0.002)
    assert str(again)[:19] == str(wall)[:19]


@ON_A_BUSY_MACHINE
@given(walls, walls, st.integers(0, 10**18), st.integers(0, 10**15))
def test_an_age_within_a_boot_does_not_know_the_wall_clock(then: Wall, now: Wall, ns: int, passed_ns: int) -> None:
    assert elapsed_s(Moment(BOOT, ns, then), Moment(BOOT, ns + passed_ns, now)) == passed_ns / 1e9


@ON_A_BUSY_MACHINE
@given(walls, walls, st.integers(0, 10**18), st.integers(0, 10**15))
def test_an_age_over_a_restart_is_what_can_be_known(then: Wall, now: Wall, ns: int, up_ns: int) -> None:
    age_s = elapsed_s(Moment(OTHER, ns, then), Moment(BOOT, up_ns, now))
    if then.trusted and now.trusted:
        assert age_s == max(up_ns / 1e9, now.at_s - then.at_s)
    else:
        assert age_s == up_ns / 1e9


def test_a_message_of_a_version_that_did_not_say_is_not_trusted() -> None:
    """An outbox outlives an upgrade."""
    (message,) = stamped([alert(1)], "box-1", 1, Moment(BOOT, 7, Wall(1e9, True)))
    old = msgspec.to_builtins(message)
    del old["committed_ns"], old["clock_trusted"]
    when = committed(msgspec.convert(old, Message))
    assert (when.ns, when.wall.trusted, str(when.wall)) == (0, False, message.committed_at)


@ON_A_BUSY_MACHINE
@given(walls, st.integers(1, 50))
def test_messages_of_one_moment(wall: Wall, count: int) -> None:
    now = Moment(BOOT, 7, wall)
    messages = stamped([alert(n) for n in range(count)], "box-1", 5, now)
    assert [message.seq for message in messages] == list(range(5, 5 + count))
    assert len({message.id for message in messages}) == count
    assert all(message.clock_trusted is wall.trusted for message in messages)
    when = committed(messages[0])
    assert (when.boot, when.ns, str(when.wall)[:19]) == (BOOT, 7, str(wall)[:19])


@settings(ON_A_BUSY_MACHINE, max_examples=25)
@given(st.lists(st.tuples(walls, st.integers(1, 3)), min_size=1, max_size=12))
def test_however_the_clock_jumps_order_ids_and_age_stay(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Wall, int]]
) -> None:
    """Each step is a commit of so many, a second after the one before, by a clock that says anything at all."""
    path = tmp_path_factory.mktemp("jumps") / "outbox.db"
    now = Moment(BOOT, 0, Wall(1.0, False))
    put: list[str] = []
    with contextlib.closing(Outbox.open(path, "box-1", 1 << 20, now=lambda: now)) as outbox:
        for wall, count in steps:
            now = Moment(BOOT, now.ns + 10**9, wall)
            put += [message.id for message in outbox.put([alert(n) for n in range(count)])]
        with contextlib.closing(OutboxReader.open(path)) as reader:
            rows, oldest = reader.pending(1000), reader.oldest()
    assert [row.id for row in rows] == put
    assert len(set(put)) == len(put)
    assert [row.seq for row in rows] == list(range(1, len(put) + 1))
    assert oldest is not None
    assert elapsed_s(oldest, now) == len(steps) - 1


@ON_A_BUSY_MACHINE
@given(st.integers(0, 9 * 10**18))
def test_a_file_date_is_later_than_all_before(newest_ns: int) -> None:
    assert clock.date_after(newest_ns) > newest_ns


@pytest.mark.parametrize("version", [(3, 10, 12), (3, 12, 0)])
def test_a_wait_ends_at_the_event_or_at_its_time(version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways: Python 3.10 would wait for a wall-clock time."""
    monkeypatch.setattr(sys, "version_info", version)
    event = threading.Event()
    assert clock.wait(event, 0.02) is False
    threading.Timer(0.05, event.set).start()
    assert clock.wait(event, 60) is True
    assert clock.wait(event, 60) is True
