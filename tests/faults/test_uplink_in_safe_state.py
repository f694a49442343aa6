"""The core is left alone, and the uplink says so: retained at the broker, and in its status."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from edge import status
from edge.status import SafeStatus
from edge.uplink.wire import State
from tests.support.broker import Broker, missing_tools
from tests.support.delivery import DEVICE, Box, watching
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
REASON = "the core is not started: it hung"


def test_the_safe_state_is_published_and_taken_back(broker: Broker, tmp_path: Path) -> None:
    box, path = Box(tmp_path, broker.port), tmp_path / "safe.json"
    with watching(box.config, f"endoedge/{DEVICE}/state") as seen:

        def said() -> list[tuple[bool, str]]:
            states = [msgspec.json.decode(event.payload, type=State) for event in seen]
            return [(state.online, state.safe) for state in states]

        with box.uplink(safe=path):
            wait_for(lambda: said() == [(True, "")], "birth")
            now_ns = time.monotonic_ns()
            status.write(path, SafeStatus(reason=REASON, since_ns=now_ns, until_ns=now_ns, updated_ns=now_ns))
            wait_for(lambda: said()[1:] == [(True, REASON)], "the safe state")
            assert box.wait_status(lambda s: s.safe, "it is in the status file").safe == REASON
            path.unlink()
            wait_for(lambda: said()[2:] == [(True, "")], "its end")


def test_an_uplink_that_starts_in_the_safe_state_says_so_at_once(broker: Broker, tmp_path: Path) -> None:
    box, path, now_ns = Box(tmp_path, broker.port), tmp_path / "safe.json", time.monotonic_ns()
    status.write(path, SafeStatus(reason=REASON, since_ns=now_ns, until_ns=now_ns, updated_ns=now_ns))
    with watching(box.config, f"endoedge/{DEVICE}/state") as seen, box.uplink(safe=path):
        wait_for(lambda: seen, "birth")
        assert msgspec.json.decode(seen[0].payload, type=State).safe == REASON
