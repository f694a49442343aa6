"""One contract for every backend: each file in edge/infer with an open()."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge import config, model
from edge.errors import InferenceError
from edge.infer import tensorrt
from edge.memory.host import HostImage
from edge.types import Backend, Model
from tests.support import fake_cuda, fake_tensorrt, models
from tests.support.engines import build

SIZE = models.SIZE
HELPERS = {"engine_build", "engine_store", "inspector", "placing", "trt_build"}  # of edge/infer, no backends themselves


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model.load(models.build(tmp_path_factory.mktemp("model")))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, loaded: Model, tmp_path: Path) -> Iterator[str]:
    """A folder with the model's engine, over the fakes of TensorRT and CUDA; they stay for the test."""
    started = fake_cuda.started()
    fake_tensorrt.install(monkeypatch, next(started))
    build(tensorrt.Config(cache_dir=str(tmp_path)), loaded)
    yield str(tmp_path)
    next(started, None)


@pytest.fixture(params=config.part_names("edge.infer"))
def backend(request: pytest.FixtureRequest, loaded: Model) -> Any:
    table = {"backend": request.param}
    if request.param == "tensorrt":
        table["cache_dir"] = request.getfixturevalue("engines")
    module, part = config.part("edge.infer", table, "backend", "test", "infer")
    opened = module.open(part, loaded)
    yield opened
    opened.close()


def test_tensors_are_the_manifest_s(backend: Backend, loaded: Model) -> None:
    assert backend.input == loaded.manifest.input
    results = backend.infer(np.zeros((SIZE, SIZE, 4), np.uint8))
    for spec in loaded.manifest.outputs:
        assert results[spec.name].shape == spec.shape
        assert results[spec.name].dtype == spec.dtype


def test_host_memory_is_read_in_place(backend: Backend) -> None:
    pixels = np.full((SIZE, SIZE, 4), 90, np.uint8)
    backend.infer(HostImage(pixels.ctypes.data, SIZE, SIZE, SIZE * 4))
    assert backend.copies.host == 0


def test_padded_rows_are_copied_and_counted(backend: Backend) -> None:
    wide = np.zeros((SIZE, SIZE + 8, 4), np.uint8)
    backend.infer(HostImage(wide.ctypes.data, SIZE, SIZE, (SIZE + 8) * 4))
    assert backend.copies.host == 1


def test_results_live_in_the_same_memory_every_time(backend: Backend) -> None:
    first = {name: array.ctypes.data for name, array in backend.infer(np.zeros((SIZE, SIZE, 4), np.uint8)).items()}
    again = {name: array.ctypes.data for name, array in backend.infer(np.ones((SIZE, SIZE, 4), np.uint8)).items()}
    assert first == again


@pytest.mark.parametrize("shape", [(SIZE, SIZE, 3), (SIZE // 2, SIZE, 4), (SIZE * 2, SIZE, 4)])
def test_another_size_is_refused(backend: Backend, shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceError, match="was expected"):
        backend.infer(np.zeros(shape, np.uint8))


def test_onnx_computes_what_the_graph_says(loaded: Model) -> None:
    module, part = config.part("edge.infer", {"backend": "onnx", "threads": 2}, "backend", "test", "infer")
    opened = module.open(part, loaded)
    picture = np.zeros((SIZE, SIZE, 4), np.uint8)
    picture[:, : SIZE // 2] = (0, 250, 0, 255)
    outputs = opened.infer(picture)
    assert np.allclose(outputs["polyp"][0, 0, :, : SIZE // 4], 0.4 * 250 - 8)
    assert np.allclose(outputs["polyp"][0, 0, :, SIZE // 4 :], -8)
    assert np.allclose(outputs["thumbnail"][0, :, 0, 0], (0, 250, 0))
    opened.close()


@pytest.mark.parametrize("content", [b"", b"not an onnx", b"\x08\x08" * 400])
def test_foreign_onnx_is_refused(loaded: Model, content: bytes) -> None:
    module, part = config.part("edge.infer", {"backend": "onnx"}, "backend", "test", "infer")
    with pytest.raises(InferenceError, match=r"int8\.onnx: ONNX Runtime cannot load it"):
        module.open(part, msgspec.structs.replace(loaded, content=content))


def test_errors_survive_gstreamer_being_there_first() -> None:
    """libunwind, which GStreamer brings, once turned ONNX Runtime's exceptions into segmentation faults."""
    program = (
        "from edge.capture import gst; gst.init(); import onnxruntime\n"
        "try: onnxruntime.InferenceSession(b'garbage', providers=['CPUExecutionProvider'])\n"
        "except Exception: print('caught')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "caught\n"), done.stderr


@pytest.mark.parametrize("module", ["edge.infer.onnx", "calibration.session"])
def test_onnx_runtime_keeps_and_sends_nothing_of_its_own(module: str, tmp_path: Path) -> None:
    """Of its own accord it keeps what it was used for in the user's cache, and sends it to its maker."""
    program = (
        f"import {module}, onnxruntime, os\n"
        "try: onnxruntime.InferenceSession(b'garbage', providers=['CPUExecutionProvider'])\n"
        "except Exception: print('used')"
    )
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", program], env=home, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "used\n"), done.stderr
    assert not list(tmp_path.iterdir())


def test_tensors_that_differ_from_the_manifest_are_refused(loaded: Model) -> None:
    module, part = config.part("edge.infer", {"backend": "onnx"}, "backend", "test", "infer")
    wrong = msgspec.structs.replace(loaded.manifest.outputs[0], shape=(1, 1, 7, 7))
    manifest = msgspec.structs.replace(loaded.manifest, outputs=[wrong])
    with pytest.raises(InferenceError, match=r"tensor polyp should be float32 \[1, 1, 7, 7\], the file has"):
        module.open(part, msgspec.structs.replace(loaded, manifest=manifest))


def test_every_backend_file_is_covered() -> None:
    files = {path.stem for path in (Path(config.__file__).parent / "infer").glob("*.py")} - {"__init__"}
    assert files - HELPERS == set(config.part_names("edge.infer"))
