"""Small rounds of tools/fleet_sim.py and tools/upload_bench.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.broker import Broker, missing_tools
from tests.support.farm import Farm, cpu_s
from tests.support.fleet import Fleet, Plan
from tools import fleet_sim, upload_bench


@pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
def test_many_boxes_at_once(tmp_path: Path) -> None:
    plan = Plan(boxes=30, seconds=4, seed=1, faster=30, ramp_s=1, frames=3, frame_bytes=20_000)
    with Broker(tmp_path) as broker, Farm(tmp_path / "farm") as farm:
        farm.web()
        farm.worker()
        farm.wait_up()
        result = asyncio.run(Fleet(plan, broker.port, farm).play())
        page = fleet_sim.page(result, {"mosquitto": cpu_s(broker.pid)})
        took = upload_bench.measure(farm, 4, 2)
    print("\n".join(page))
    assert result.ok, page
    assert result.telemetry >= len(result.heard.telemetry_s) > 0
    assert len(result.upload_s) == len(result.draft_s) == plan.uploads
    assert len(took) == 4
