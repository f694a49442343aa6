"""The updater's word at a real broker: kept, sent anew when that forgot it, taken away when there is no updater."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge import updating
from edge.uplink import retained
from edge.uplink.wire import Telemetry, Update
from tests.support.broker import Broker, missing_tools
from tests.support.delivery import DEVICE, Box, watching
from tests.support.updating import said, write
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
TOPIC = f"endoedge/{DEVICE}/update"


@pytest.fixture
def told(tmp_path: Path) -> Any:
    def write_one(**changes: Any) -> Path:
        write(tmp_path, said(time.monotonic_ns(), **changes))
        return tmp_path / updating.STATUS

    return write_one


def test_it_is_kept_and_changes(tmp_path: Path, told: Any) -> None:
    path = told(trouble="the metadata has expired")
    with Broker(tmp_path) as broker:
        box = Box(tmp_path, broker.port, telemetry_s=1)
        with watching(box.config, TOPIC, f"endoedge/{DEVICE}/telemetry") as seen, box.uplink(update=path):
            wait_for(lambda: any(one.topic == TOPIC for one in seen), "the updater's word")
            first = next(one for one in seen if one.topic == TOPIC)
            assert msgspec.json.decode(first.payload, type=Update).updater.trouble == "the metadata has expired"
            assert first.qos == 1
            wait_for(lambda: any(one.topic != TOPIC for one in seen), "telemetry")
            telemetry = next(one for one in seen if one.topic != TOPIC)
            brief = msgspec.json.decode(telemetry.payload, type=Telemetry).update
            assert brief is not None
            assert brief.trouble == "the metadata has expired"
            told(state="offered")
            states = lambda: [  # noqa: E731
                msgspec.json.decode(one.payload, type=Update).updater.state for one in seen if one.topic == TOPIC
            ]
            wait_for(lambda: states()[-1] == "offered", "the change")
        with watching(box.config, TOPIC) as late:
            wait_for(lambda: late, "what the broker kept")
            assert late[0].retain
            assert msgspec.json.decode(late[0].payload, type=Update).updater.state == "offered"


def test_a_broker_that_forgot_is_told_again(tmp_path: Path, told: Any) -> None:
    path = told(state="fetched")
    broker = Broker(tmp_path, options=("persistence false",))
    box = Box(tmp_path, broker.port)
    with box.uplink(update=path):
        for _ in range(2):
            with broker, watching(box.config, TOPIC) as seen:
                wait_for(lambda seen=seen: seen, "the updater's word")
                assert msgspec.json.decode(seen[0].payload, type=Update).updater.state == "fetched"


def test_without_an_updater_what_was_kept_goes(tmp_path: Path, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retained, "NONE_FOR_S", 0.2)
    with Broker(tmp_path) as broker:
        box = Box(tmp_path, broker.port)
        with watching(box.config, TOPIC) as seen:
            with box.uplink(update=told()):
                wait_for(lambda: seen, "the updater's word")
            with box.uplink(update=tmp_path / "none.json"):
                wait_for(lambda: seen[-1].payload == b"", "that it is gone")
        with watching(box.config, TOPIC, f"endoedge/{DEVICE}/state") as late:
            wait_for(lambda: late, "the state, which is kept")
            assert [one.topic for one in late] == [f"endoedge/{DEVICE}/state"]
