"""Which progress is owed, and what systemd hears of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.systemd import Notifier
from edge.types import SignalState
from edge.watchdog import CHANGING, CORE_ROWS, CoreBeat, Pulse, Rows, S, UplinkBeat, uplink_rows

LIVE, NO_SIGNAL, STARTING = SignalState.LIVE, SignalState.NO_SIGNAL, SignalState.STARTING
LIMITS_S = {LIVE: 10, **dict.fromkeys(CHANGING, 60)}


class Systemd:
    """The socket that services report to."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self.notifier = Notifier({"NOTIFY_SOCKET": str(path)})

    def heard(self) -> list[list[str]]:
        messages = []
        try:
            while True:
                messages.append(self._socket.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return messages

    def close(self) -> None:
        self.notifier.close()
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    running = Systemd(tmp_path / "notify")
    yield running
    running.close()


# ------------------------------------------------------------------------------------------------ core

moments = st.tuples(st.sampled_from(SignalState), st.booleans(), st.floats(0.01, 30))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(moments, max_size=60))
def test_the_core_owes_frames_and_an_end_of_each_change(
    steps: list[tuple[SignalState, bool, float]],
) -> None:
    """Against a slow restatement: since when has this state owed, without a frame in between?"""
    rows, now_s, analysed = Rows(CORE_ROWS), 0.0, 0
    since_s: float | None = None
    owed_before: bool | None = None
    for state, frame, passed_s in steps:
        now_s, analysed = now_s + passed_s, analysed + frame
        kind = None if state not in LIMITS_S else state in CHANGING
        if kind is None:
            since_s = None
        elif since_s is None or kind != owed_before or frame:
            since_s = now_s
        owed_before = kind
        broken = since_s is not None and round((now_s - since_s) * S) > LIMITS_S[state] * S
        said = rows.step(CoreBeat(round(now_s * S), state, analysed))
        if since_s is None or abs(now_s - since_s - LIMITS_S[state]) > 1e-6:  # rounding decides on the edge itself
            assert bool(said) == broken


@given(st.sampled_from([state for state in SignalState if state not in LIMITS_S]), st.integers(1, 10**6))
def test_an_honest_state_may_last_for_ever(state: SignalState, hours: int) -> None:
    rows = Rows(CORE_ROWS)
    assert rows.step(CoreBeat(0, state, 7)) == ""
    assert rows.step(CoreBeat(hours * 3600 * S, state, 7)) == ""


def test_flapping_between_two_changes_is_no_progress() -> None:
    rows = Rows(CORE_ROWS)
    said = [rows.step(CoreBeat(n * S, CHANGING[n % 2], 0)) for n in range(62)]
    assert said[60] == ""
    assert said[61] == "a change of the signal's state does not come to its end for 61 s"


# ---------------------------------------------------------------------------------------------- uplink


def uplink(now_s: float, **changes: object) -> UplinkBeat:
    fine = UplinkBeat(round(now_s * S), connected=True, attempts=1, depth=0, delivered=0, trouble="")
    return fine._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "limit_s"),
    [
        ({"connected": False, "attempts": 3, "trouble": "nothing listens there"}, 60),
        ({"depth": 5, "delivered": 17}, 120),
        ({"depth": 5, "trouble": "nobody subscribes"}, None),  # known, and not to be mended by a restart
        ({"depth": -1, "trouble": "outbox: is damaged"}, None),
        ({"depth": 0}, None),
    ],
)
def test_the_uplink_owes_attempts_and_deliveries(changes: dict[str, object], limit_s: int | None) -> None:
    rows = Rows(uplink_rows(retry_max_s=30))
    assert rows.step(uplink(0, **changes)) == ""
    assert rows.step(uplink(limit_s or 10**6, **changes)) == ""
    assert bool(rows.step(uplink((limit_s or 10**6) + 1, **changes))) == (limit_s is not None)


@pytest.mark.parametrize(("key", "changes"), [("attempts", {"connected": False}), ("delivered", {"depth": 9})])
def test_progress_is_enough(key: str, changes: dict[str, object]) -> None:
    rows = Rows(uplink_rows(retry_max_s=30))
    assert all(rows.step(uplink(50 * n, **changes, **{key: n})) == "" for n in range(100))


# ----------------------------------------------------------------------------------------------- pulse


def test_ready_comes_with_the_first_frame_or_an_honest_word(systemd: Systemd) -> None:
    pulse = Pulse(systemd.notifier, CORE_ROWS, ready=lambda beat: beat.state not in CHANGING)
    pulse.beat(CoreBeat(S, STARTING, 0), lambda: "starting")
    assert systemd.heard() == [["WATCHDOG=1", "STATUS=starting"]]
    pulse.beat(CoreBeat(2 * S, NO_SIGNAL, 0), lambda: "no\nsignal")
    assert systemd.heard() == [["READY=1"], ["WATCHDOG=1", "STATUS=no signal"]]
    pulse.beat(CoreBeat(3 * S, LIVE, 1), lambda: "live")
    assert systemd.heard() == [["WATCHDOG=1", "STATUS=live"]]


def test_a_fast_loop_does_not_flood(systemd: Systemd) -> None:
    pulse = Pulse(systemd.notifier, CORE_ROWS)
    for n in range(120):
        pulse.beat(CoreBeat(S + n * S // 60, LIVE, n), lambda: "live")
    assert sum("WATCHDOG=1" in message for message in systemd.heard()) == 4  # two seconds


def test_no_progress_is_said_once_and_no_pulse_follows(systemd: Systemd) -> None:
    pulse = Pulse(systemd.notifier, CORE_ROWS)
    pulse.beat(CoreBeat(0, LIVE, 5), lambda: "live")
    systemd.heard()
    trouble = "the signal is live, but no frame was analysed for 11 s"
    assert pulse.beat(CoreBeat(11 * S, LIVE, 5), lambda: "live") == trouble
    assert systemd.heard() == [["WATCHDOG=trigger", f"STATUS={trouble}"]]
    assert pulse.beat(CoreBeat(12 * S, LIVE, 5), lambda: "live")
    assert systemd.heard() == []


def test_without_systemd_nothing_is_said() -> None:
    notifier = Notifier({})
    notifier.say("READY=1")
    notifier.close()


def test_an_abstract_socket_and_one_that_is_gone() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # the kernel makes up a name
        notifier = Notifier({"NOTIFY_SOCKET": "@" + listener.getsockname()[1:].decode()})
        notifier.say("READY=1")
        assert listener.recv(100) == b"READY=1"
    notifier.say("WATCHDOG=1")
    notifier.close()
