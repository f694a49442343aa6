"""What GStreamer is told before anything is played."""

from __future__ import annotations

import os

import pytest

from edge.capture import gst


@pytest.mark.parametrize(
    ("version", "told"), [((1, 20, 3, 0), None), ((1, 22, 0, 0), "1"), ((1, 22, 12, 0), "1"), ((1, 24, 2, 0), None)]
)
def test_only_the_version_that_forgets_its_pools_has_to_take_its_buffers_back(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], told: str | None
) -> None:
    monkeypatch.delenv(gst.TAKE_BUFFERS_BACK, raising=False)
    monkeypatch.setattr(gst.Gst, "version", lambda: version)
    gst.init()
    assert os.environ.pop(gst.TAKE_BUFFERS_BACK, None) == told
