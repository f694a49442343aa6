"""When the updater's word is sent: at each connect, when it changes, and progress not too often."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from edge.updating import Answer, Trial, UpdateStatus
from edge.uplink import retained
from edge.uplink.retained import LEAST_S, NONE_FOR_S, PROGRESS_S, Updates
from edge.uplink.wire import Update
from tests.support.updating import OFFER, said


def now(**changes: Any) -> UpdateStatus:
    return said(time.monotonic_ns(), **changes)


@pytest.fixture
def updates() -> Updates:
    made = Updates("box-1")
    made.connected(100.0)
    return made


def told(payload: bytes | None) -> Update:
    assert payload is not None
    return msgspec.json.decode(payload, type=Update)


def test_once_at_each_connect_and_not_for_its_clock(updates: Updates) -> None:
    first = told(updates.due(now(), 100.0))
    assert (first.device, first.alive, first.updater.version) == ("box-1", True, "1.4.1")
    for second in range(1, 100):
        assert updates.due(now(), 100.0 + second) is None
    updates.connected(200.0)
    assert told(updates.due(now(), 200.0)).updater.state == "idle"


@pytest.mark.parametrize(
    "change",
    [
        {"state": "offered"},
        {"trouble": "the metadata has expired"},
        {"refused": ("1.4.2",)},
        {"offer": OFFER},
        {"answers": (Answer(id="0" * 16, done=True, words="done"),)},
        {"trial": Trial(until_s=1.0, healthy_s=0.0, needed_s=60.0, lacks="frames")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_matters_is_sent_within_a_second(updates: Updates, change: dict[str, Any]) -> None:
    updates.due(now(), 100.0)
    assert updates.due(now(**change), 100.0 + LEAST_S / 2) is None
    sent = told(updates.due(now(**change), 100.0 + LEAST_S))
    assert {key: getattr(sent.updater, key) for key in change} == change
    assert updates.due(now(**change), 200.0) is None


def test_progress_is_sent_every_two_seconds_or_five_percent(updates: Updates) -> None:
    updates.due(now(state="downloading", percent=10), 100.0)
    assert updates.due(now(state="downloading", percent=11), 100.0 + PROGRESS_S - 0.1) is None
    assert told(updates.due(now(state="downloading", percent=11), 100.0 + PROGRESS_S)).updater.percent == 11
    assert updates.due(now(state="downloading", percent=16), 102.5) is None  # not before a second is over
    assert told(updates.due(now(state="downloading", percent=16), 103.0)).updater.percent == 16
    assert told(updates.due(now(state="downloading", percent=16, detail="from B"), 105.0)).updater.detail == "from B"
    assert updates.due(now(state="downloading", percent=16, detail="from B"), 109.0) is None


def test_an_updater_that_falls_silent_is_said_once(updates: Updates) -> None:
    updates.due(now(), 100.0)
    old = said(time.monotonic_ns() - 60 * 10**9)
    assert told(updates.due(old, 110.0)).alive is False
    assert updates.due(old, 120.0) is None
    assert updates.due(None, 130.0) is None  # its file is gone, too: nothing new
    assert told(updates.due(now(), 140.0)).alive is True


def test_no_updater_is_an_empty_word_a_minute_after_each_connect(updates: Updates) -> None:
    assert updates.due(None, 100.0) is None
    assert updates.due(None, 100.0 + NONE_FOR_S - 1) is None
    assert updates.due(None, 100.0 + NONE_FOR_S) == b""
    assert updates.due(None, 1000.0) is None
    assert told(updates.due(now(), 1001.0)).alive  # there is one after all
    other = Updates("box-1")
    other.connected(1100.0)
    assert other.due(None, 1100.0 + NONE_FOR_S) == b""


def test_telemetry_has_it_in_short() -> None:
    assert retained.brief(None) is None
    short = retained.brief(now(trouble="expired", refused=("1.4.2",), offer=OFFER))
    assert short is not None
    assert (short.alive, short.trouble, short.refused, short.state) == (True, "expired", ("1.4.2",), "idle")
