"""A frame is worth what its own tiny picture is, whichever of the two is late."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest

from edge.capture import field as fields
from edge.capture.evidence import Look
from edge.capture.glance import Glance
from edge.capture.profiles import LOOK_SIZE
from edge.memory.host import HostImage
from tests.support import frames

EVERY_NS = 40_000_000


class Small:
    """A picture as a pipeline gives it."""

    def __init__(self, number: int, pixels: np.ndarray) -> None:
        self.running_ns, self._pixels, self.released = number * EVERY_NS, pixels.copy(), 0
        height, width, _ = pixels.shape
        self.image = HostImage(self._pixels.ctypes.data, height, width, width * 4)

    def release(self) -> None:
        self.released += 1


class Mailbox:
    """What `gst.Pipeline.pull` is asked for here."""

    def __init__(self, *smalls: Small) -> None:
        self.waiting, self.given = deque(smalls), list[Small]()

    def pull(self, timeout_s: float, sink: str) -> Small | None:
        assert sink == "look"
        if not self.waiting:
            return None
        self.given.append(self.waiting.popleft())
        return self.given[-1]


def snow(seed: int) -> np.ndarray:
    return frames.snow(*LOOK_SIZE, seed)


def glance(field: Any = None) -> Glance:
    made = Glance()
    made.begin(field)
    return made


def test_the_one_of_the_same_time_counts() -> None:
    box = Mailbox(Small(1, snow(1)), Small(2, snow(2)), Small(3, snow(2)), Small(4, np.zeros_like(snow(0))))
    one = glance()
    looks = [one.look(box, number * EVERY_NS) for number in (1, 2, 3, 4)]  # type: ignore[arg-type]
    assert looks == [Look.MOVING, Look.MOVING, Look.REPEATED, Look.BLACK]
    assert one.count == 4
    assert [small.released for small in box.given] == [1] * 4


def test_those_of_frames_that_were_dropped_are_passed_over_but_looked_at() -> None:
    box = Mailbox(*(Small(number, snow(number)) for number in (1, 2)), Small(3, snow(2)))
    assert glance().look(box, 3 * EVERY_NS) is Look.REPEATED  # type: ignore[arg-type]


def test_a_frame_without_one_is_not_used_and_does_not_cost_the_next() -> None:
    box, one = Mailbox(Small(1, snow(1)), Small(3, snow(3))), glance()
    assert one.look(box, EVERY_NS) is Look.MOVING  # type: ignore[arg-type]
    assert one.look(box, 2 * EVERY_NS) is None  # type: ignore[arg-type]
    assert one.look(box, 3 * EVERY_NS) is Look.MOVING  # type: ignore[arg-type]
    assert one.look(box, 4 * EVERY_NS) is None  # type: ignore[arg-type]


def test_where_times_are_unknown_the_newest_counts() -> None:
    smalls = [Small(0, snow(number)) for number in (1, 2, 2)]
    for small in smalls:
        small.running_ns = -1
    assert glance().look(Mailbox(*smalls), -1) is Look.REPEATED  # type: ignore[arg-type]
    assert glance().look(Mailbox(), -1) is None  # type: ignore[arg-type]


def test_what_is_outside_the_field_does_not_count() -> None:
    """A clock beside a frozen picture."""
    field = fields.fixed([(0.0, 0.0), (128.0, 0.0), (128.0, 128.0), (64.0, 128.0), (0.0, 64.0)])
    first, second = snow(1), snow(1)
    second[50:, :10] = 255 - second[50:, :10]
    box = Mailbox(Small(1, first), Small(2, second))
    one = glance(field)
    assert [one.look(box, number * EVERY_NS) for number in (1, 2)] == [Look.MOVING, Look.REPEATED]  # type: ignore[arg-type]
    assert glance().look(Mailbox(Small(1, first), Small(2, second)), 2 * EVERY_NS) is Look.MOVING  # type: ignore[arg-type]


def test_a_new_pipeline_begins_anew() -> None:
    one = glance()
    assert one.look(Mailbox(Small(9, snow(1))), 9 * EVERY_NS) is Look.MOVING  # type: ignore[arg-type]
    one.begin(None)
    assert one.look(Mailbox(), 9 * EVERY_NS) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("number", range(3))
def test_the_smallest_change_that_reaches_it_is_seen(number: int) -> None:
    changed = snow(number)
    changed[7, 9, 1] ^= 1
    one, box = glance(), Mailbox(Small(1, snow(number)), Small(2, changed))
    assert [one.look(box, at * EVERY_NS) for at in (1, 2)] == [Look.MOVING] * 2  # type: ignore[arg-type]
