"""The whole core over the fakes of TensorRT: what becomes of an engine's build lies in the outbox."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edge.cli import assemble, model, run_core
from edge.decide import engine
from edge.infer import tensorrt
from edge.infer.engine_build import Building
from edge.messages import EngineChanged
from tests.support import desk
from tests.support.fake_tensorrt import Fake
from tests.support.waiting import wait_for

KILLED = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]  # as by a kernel that has no memory left


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file that names the power mode."""
    file = tmp_path / "status"
    monkeypatch.setattr(tensorrt, "POWER_MODE", file)
    return file


@pytest.fixture
def site(trt: Fake, mode: Path, tmp_path: Path) -> Callable[[str], assemble.Site]:
    """A box that sees a test pattern, with an engine of another power mode than it has now."""

    def made(pattern: str) -> assemble.Site:
        file = desk.site(tmp_path)
        pictures = f'source = "test"\npattern = "{pattern}"\nwidth = 64\nheight = 64\nfield = "whole"'
        file.write_text(file.read_text().replace('source = "test"', pictures))
        mode.write_text("pmode:0000")
        model.make(file, None, lambda _: None)
        mode.write_text("pmode:0002")
        box = assemble.load_site(file)
        assemble.make_run_dir(box)
        return box

    return made


def events(
    box: assemble.Site, monkeypatch: pytest.MonkeyPatch, command: Callable[[Sequence[str]], list[str]]
) -> list[EngineChanged]:
    """Of a run of the core in which a build is `command`, up to the last word of it."""
    monkeypatch.setattr(assemble, "Building", lambda asked: Building(command(asked)))
    stop, codes = threading.Event(), list[int]()
    core = threading.Thread(target=lambda: codes.append(run_core.run_core(box, stop)))

    def said() -> list[EngineChanged]:
        found = desk.committed(box) if box.status_path.exists() else []  # the core writes it when the outbox is open
        return [event for event in found if isinstance(event, EngineChanged)]

    def over() -> bool:
        return not core.is_alive() or any(event.state in ("serving", "failed") for event in said())

    core.start()
    try:
        wait_for(over, "a last word")
    finally:
        stop.set()
        core.join(30)
    assert codes == [0]
    return said()


@pytest.mark.parametrize("pattern", ["snow", "black"])
def test_a_build_is_told_from_begin_to_service_with_and_without_a_picture(
    pattern: str,
    site: Callable[[str], assemble.Site],
    mode: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(engine, "EVERY_NS", 0)
    caplog.set_level("INFO")
    box = site(pattern)
    begun, *steps, built, serving = events(box, monkeypatch, lambda asked: desk.over_fakes(mode, asked))
    assert (begun.state, begun.detail) == ("begun", "the engine that serves was tuned at another power mode")
    assert {step.state for step in steps} <= {"building"}
    assert (built.state, serving.state) == ("built", "serving")
    assert built.detail == serving.detail
    assert "power mode pmode:0002" in built.detail
    assert f"engine serving: {serving.detail}" in caplog.messages


def test_a_build_that_dies_is_told_and_the_core_goes_on(
    site: Callable[[str], assemble.Site], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, failed = events(site("snow"), monkeypatch, lambda asked: KILLED)
    assert (begun.state, failed.state) == ("begun", "failed")
    assert failed.detail == "the build ended with status -9: it said nothing"
    assert f"engine failed: {failed.detail}" in caplog.messages


def test_a_store_that_cannot_be_written_is_told(
    site: Callable[[str], assemble.Site], mode: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root may write everywhere, but into no file as if it were a folder."""
    store = tmp_path / "engines"

    def blocked(asked: Sequence[str]) -> list[str]:
        store.rename(tmp_path / "away")
        store.touch()
        return desk.over_fakes(mode, asked)

    begun, failed = events(site("black"), monkeypatch, blocked)
    assert (begun.state, failed.state) == ("begun", "failed")
    assert failed.detail == f"{store}: engines cannot be kept here: File exists"
