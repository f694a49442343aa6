"""One forgotten reference is dropped, and nothing else: on GStreamer's own pools, counted by GObject."""

from __future__ import annotations

import ctypes
import logging
from typing import NamedTuple

import pytest

from edge.capture import gst, gst_c, gst_pool

gst.init()
_new = ctypes.CDLL("libgstreamer-1.0.so.0").gst_buffer_pool_new
_new.restype, _new.argtypes = ctypes.c_void_p, ()


@pytest.mark.parametrize(("others", "left"), [(1, 0), (2, 2), (5, 5)], ids=["the forgotten one", "two", "many"])
def test_one_reference_beside_ours_is_dropped_and_more_are_not(
    others: int, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    pool = int(_new())
    watch = _Watch.of(pool)
    for _ in range(others):
        gst_c.object_ref(pool)
    with caplog.at_level(logging.WARNING):
        gst_pool.let_go(pool)
    assert watch.gone is (left == 0)
    assert bool(caplog.records) is (left > 0)
    if left:
        assert gst_c.references(pool) == left


def test_a_pool_that_nobody_forgot_goes_with_our_reference() -> None:
    pool = int(_new())
    watch = _Watch.of(pool)
    gst_pool.let_go(pool)
    assert watch.gone


class _Factory(NamedTuple):
    name: str

    def get_name(self) -> str:
        return self.name


class _Element(NamedTuple):
    name: str

    def get_factory(self) -> _Factory:
        return _Factory(self.name)


@pytest.mark.parametrize(
    ("elements", "version", "asked"),
    [
        ([_Element("videotestsrc")], (1, 22), 0),
        ([_Element("v4l2src")], (1, 24), 0),
        ([], (1, 22), 0),
        ([_Element("tee"), _Element("v4l2src")], (1, 22), 3),
    ],
    ids=["another source", "another version", "nothing", "v4l2src"],
)
def test_only_v4l2src_of_a_forgetful_version_is_asked(
    elements: list[_Element], version: tuple[int, int], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers with another pool after a while: both are let go of, and nothing else is."""
    pools = [int(_new()), int(_new())]
    watches = [_Watch.of(pool) for pool in pools]
    answers = iter([pools[0], pools[0], pools[1]])
    for pool in pools:
        gst_c.object_ref(pool)  # the forgotten one; v4l2src's own is the answer's

    calls = 0

    def answer(_element: int) -> int:
        nonlocal calls
        calls += 1
        pool = next(answers)
        gst_c.object_ref(pool)
        return pool

    monkeypatch.setattr(gst_c, "source_pool", answer)
    looking = gst_pool.Pools(elements, version)
    for _ in range(3):
        looking.look()
    for pool in pools:
        gst_c.object_unref(pool)  # v4l2src's own, at NULL
    looking.let_go()
    assert calls == asked
    assert [watch.gone for watch in watches] == [bool(asked)] * 2
    if not asked:
        for pool in pools:
            gst_c.object_unref(pool)


class _Watch:
    """GObject's own word for the end of an object."""

    _NOTIFY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)

    def __init__(self) -> None:
        self.gone = False
        self._callback = self._NOTIFY(lambda _data, _object: setattr(self, "gone", True))

    @classmethod
    def of(cls, address: int) -> _Watch:
        watch = cls()
        weak_ref = ctypes.CDLL("libgobject-2.0.so.0").g_object_weak_ref
        weak_ref.restype, weak_ref.argtypes = None, (ctypes.c_void_p, cls._NOTIFY, ctypes.c_void_p)
        weak_ref(address, watch._callback, None)
        return watch
