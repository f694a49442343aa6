"""The core on a board that heats up and cools down: heads go and come back, the rate falls and rises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import clock, status
from edge.cli import assemble, run_core
from edge.decide import ladder
from edge.messages import EffortChanged
from edge.status import CoreStatus
from tests.support import board_trees, classes, clips, desk, models

WITHIN_S = 60.0
TEMPERATURE = "sys/class/hwmon/hwmon1/temp1_input"  # its limit is 80 C

SITE = """
device = "box"
pipeline = "colonoscopy"
run_dir = "."
models_dir = "models"
pipelines_dir = "pipelines"
[capture]
source = "file"
path = "clip.mkv"
rate = "max"
loop = true
field = "whole"
[outbox]
path = "outbox.db"
[uplink]
host = "127.0.0.1"
"""


def site(folder: Path) -> assemble.Site:
    """A clip without end, the little model with two more heads, and a pipeline that asks them.

    As fast as it goes: so the heat is the ladder's only reason, however busy this machine is.
    """
    clips.encode(clips.with_field(50, polyp_from=10, polyp_to=40), folder / "clip.mkv")
    classes.build(folder / "models" / models.NAME)
    (folder / "pipelines").mkdir()
    pipeline = models.tables() + classes.TABLES
    (folder / "pipelines" / "colonoscopy.toml").write_text(pipeline, encoding="utf-8")
    (folder / "endoedge.toml").write_text(SITE, encoding="utf-8")
    return assemble.load_site(folder / "endoedge.toml")


def wait(box: assemble.Site, until: Callable[[CoreStatus], bool], core: threading.Thread) -> CoreStatus:
    deadline = time.monotonic() + WITHIN_S
    said = None
    while time.monotonic() < deadline and core.is_alive():
        said = status.read(box.status_path, CoreStatus)
        if said is not None and until(said):
            return said
        time.sleep(0.05)
    raise AssertionError(said)


def heat(root: Path, celsius: int) -> None:
    """In one step, as the kernel does it: never half a number."""
    board_trees.put(root, TEMPERATURE + ".new", str(celsius * 1000))
    (root / (TEMPERATURE + ".new")).replace(root / TEMPERATURE)


@pytest.mark.timeout(200)
def test_heads_go_and_come_back_with_the_heat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "WORSE_AFTER_NS", 100_000_000)
    monkeypatch.setattr(ladder, "BETTER_AFTER_NS", 200_000_000)
    box, stop = site(tmp_path), threading.Event()
    with board_trees.grown("pc_intel", tmp_path / "root") as root:
        codes: list[int] = []
        core = threading.Thread(target=lambda: codes.append(run_core.run_core(box, stop, root)))
        core.start()
        try:
            cool = wait(box, lambda said: bool(said.classes) and said.effort == "full", core)
            assert cool.clock.trusted is clock.read().trusted
            assert cool.board is not None
            assert cool.board.zones["Package id 0"].temperature_c == 44.0
            heat(root, 78)
            wait(box, lambda said: said.effort == "quarter" and not said.classes and said.source.spared > 0, core)
            heat(root, 50)
            wait(box, lambda said: said.effort == "full" and bool(said.classes), core)
        finally:
            stop.set()
            core.join(30)
    assert codes == [0]
    steps = [event for event in desk.committed(box) if isinstance(event, EffortChanged)]
    assert [step.effort for step in steps] == [
        *("sparse", "regions", "half", "quarter"),
        *("half", "regions", "sparse", "full"),
    ]
    assert steps[0].reason == "Package id 0 2.0 C below its limit"
