"""The on-device checks of a Jetson's hardware, over the fakes of nvvidconv, libnvbufsurface, CUDA and TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge import errors, model
from tests.support import fake_tensorrt, models
from tools.on_device import frames
from tools.on_device.checks import graphs, nvmm, vic_sync

SIZE, COUNT = (60, 48), 30  # rows of 240 bytes in a pitch of 256


def test_nvmm_and_the_video_hardware_in_step(surfaces: Any) -> None:
    found = frames.through_nvmm(SIZE, COUNT)
    assert found.kinds == {"same": COUNT}
    assert found.pitches == {256}
    assert nvmm.judge(found, COUNT).outcome == "passed"
    assert vic_sync.judge(found, COUNT).said == f"{COUNT} frames, to the bit"
    assert (surfaces.images, surfaces.surfaces, surfaces.mistakes()) == (0, 0, 0)


def test_hardware_that_is_not_done_is_found(surfaces: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the twentieth frame on, the lower half of each surface still shows what it showed before."""
    from tests.support.fake_nvmm import nvvidconv

    class Late:
        """A surface's pixels of which the lower half is not written."""

        def __init__(self, whole: Any) -> None:
            self.whole = whole

        def __setitem__(self, place: Any, value: Any) -> None:
            half = len(self.whole) // 2
            self.whole[:half] = value[:half]

    written = iter(range(10**6))
    real = nvvidconv.pixels
    monkeypatch.setattr(nvvidconv, "pixels", lambda at: real(at) if next(written) < 20 else Late(real(at)))
    found = frames.through_nvmm(SIZE, COUNT)
    assert found.kinds["same"] == 20
    assert found.kinds["torn"] + found.kinds["wrong"] == COUNT - 20  # wrong: older than what is remembered
    assert found.first_bad.startswith("frame 20: torn, 24 rows")
    assert "out of step; frame 20" in vic_sync.judge(found, COUNT).said


def test_a_box_without_egl_says_so_and_leaves_nothing(surfaces: Any) -> None:
    surfaces.display(False)
    with pytest.raises(errors.GpuError, match="EGL has no display"):
        frames.through_nvmm(SIZE, COUNT)
    assert (surfaces.images, surfaces.surfaces, surfaces.mistakes()) == (0, 0, 0)


def test_graphs_over_rotating_buffers(cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.infer import tensorrt

    fake_tensorrt.install(monkeypatch, cuda)
    loaded = model.load(models.build(tmp_path / "model"), "fp32")
    config = tensorrt.Config(cache_dir=str(tmp_path / "engines"))
    device = tensorrt.open_device(config)
    built = tensorrt.build(config, loaded, b"", lambda _: True)
    backend = tensorrt.TensorRTBackend(device, loaded, built.plan)
    try:
        found = graphs.over_buffers(backend, loaded.size)
    finally:
        backend.close()
    assert found.differences == []
    assert graphs.judge(found, []).outcome == "passed"
    assert cuda.calls("cuGraphLaunch") == graphs.BUFFERS * (graphs.ROUNDS - graphs.PLAIN)
