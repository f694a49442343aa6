"""The latency check: numbers as pictures, and a loop with a known delay."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.types import BoardReading
from tools.on_device import Context, NotHereError, Options, code
from tools.on_device.checks import latency


@pytest.mark.parametrize("number", [0, 1, 0b1010101010101010, code.MOST - 1])
@pytest.mark.parametrize("size", [(256, 256), (64, 36), (1920, 1080)])
def test_a_number_is_read_from_what_a_capture_makes_of_it(number: int, size: tuple[int, int]) -> None:
    """Scaled, blurred, in limited range."""
    picture = cv2.resize(code.draw(number, (1280, 720)), size, interpolation=cv2.INTER_AREA)
    picture = cv2.GaussianBlur(picture, (0, 0), size[0] / 200)
    assert code.read((picture * (219 / 255) + 16).astype(np.uint8)) == number


def test_what_is_no_number() -> None:
    rng = np.random.default_rng(1)
    assert code.read(np.zeros((64, 64, 4), np.uint8)) is None
    assert code.read(np.full((64, 64, 4), 128, np.uint8)) is None
    assert code.read(rng.integers(0, 256, (64, 64, 4), np.uint8)) is None
    torn = np.concatenate([code.draw(0x1234, (64, 64))[:32], code.draw(0x4321, (64, 64))[32:]])
    assert code.read(torn) is None


JETSON = BoardReading(kind="jetson", read_ns=0)


class Loop:
    """A cable with a delay: what is painted comes back `delay_s` later, small. Its clock runs as it is looked at."""

    def __init__(self, delay_s: float, lost: int = 0) -> None:
        self.now_s, self._delay_s, self._lost = 0.0, delay_s, lost
        self._painted: list[tuple[float, Any]] = []

    def clock(self) -> float:
        self.now_s += 0.0005
        return self.now_s

    def paint(self, picture: Any) -> None:
        if not self._lost or len(self._painted) % self._lost:
            self._painted.append((self.now_s, cv2.resize(picture, (64, 64))))
        else:
            self._painted.append((math.inf, None))

    def pull(self) -> Any:
        self.now_s += 0.002
        back = [picture for at_s, picture in self._painted if at_s + self._delay_s <= self.now_s]
        return back[-1] if back else None


def measured(loop: Loop) -> latency.Seen:
    return latency.measure(loop.paint, loop.pull, loop.clock, seconds=2.0)


def test_the_delay_of_the_loop_is_what_is_measured() -> None:
    result = latency.judge(measured(Loop(delay_s=0.080)))
    assert result.outcome == "passed"
    assert result.figures["p50 ms"] == pytest.approx(81, abs=3)
    assert result.figures["shown"] == 40


def test_numbers_that_do_not_come_back() -> None:
    result = latency.judge(measured(Loop(delay_s=0.02, lost=2)))
    assert (result.outcome, result.said) == ("failed", "only 20 of 40 numbers came back")
    assert latency.judge(measured(Loop(delay_s=10.0))).said.startswith("none of 40 numbers came back")
    assert latency.judge(latency.Seen(3, [1.0, 1.0, 1.0], 1)).said == "1 numbers came after a later one"


def test_latency_needs_a_loop_and_a_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(NotHereError, match="needs --loop DEVICE"):
        latency.run(Context(tmp_path, Options(), JETSON))
    with pytest.raises(NotHereError, match="needs a desktop session"):
        latency.run(Context(tmp_path, Options(loop="/dev/video0"), JETSON))
