"""ONNX Runtime's GPU providers: binding, copies, and what happens where there is no GPU for them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edge import model
from edge.errors import InferenceError
from edge.infer import onnx
from edge.types import Copies, Model
from tests.support import fake_ort, models
from tests.support.fake_cuda import FakeCuda
from tests.support.frames import DeviceImage, green, polyp_logit

SIZE = models.SIZE
OUT_OF_MEMORY = 2


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model.load(models.build(tmp_path_factory.mktemp("model")), "fp32")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> type[fake_ort.Session]:
    return fake_ort.install(monkeypatch, cuda)


@pytest.fixture(params=["cuda", "tensorrt"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> onnx.Config:
    return onnx.Config(provider=request.param, cache_dir=str(tmp_path))


@pytest.fixture
def backend(runtime: type[fake_ort.Session], config: onnx.Config, loaded: Model) -> Iterator[onnx.OnnxGpuBackend]:
    opened = onnx.open(config, loaded)
    assert isinstance(opened, onnx.OnnxGpuBackend)
    yield opened
    opened.close()


def test_a_frame_on_the_device_is_read_where_it_lies(backend: onnx.OnnxGpuBackend) -> None:
    before = backend.copies
    image = DeviceImage(green(200))
    assert np.allclose(backend.infer(image)["polyp"], polyp_logit(200))
    assert backend.copies == before
    image.close()


def test_rows_that_lie_apart_are_packed_before_it_reads(backend: onnx.OnnxGpuBackend) -> None:
    before = backend.copies
    image = DeviceImage(green(120), pitch=SIZE * 4 + 32)
    assert np.allclose(backend.infer(image)["polyp"], polyp_logit(120))
    assert backend.copies == before + Copies(device=1)
    image.close()


def test_a_host_frame_is_sent_once_and_counted(backend: onnx.OnnxGpuBackend) -> None:
    before = backend.copies
    assert np.allclose(backend.infer(green(90))["polyp"], polyp_logit(90))
    assert backend.copies == before + Copies(h2d=1)


def test_the_providers_work_on_our_stream_and_never_fall_back(
    backend: onnx.OnnxGpuBackend, config: onnx.Config
) -> None:
    session = backend._session
    assert session.providers[0] == onnx.GPU[config.provider]
    assert {options["user_compute_stream"] for options in session.options.values()} == {str(backend._stream.handle)}
    assert session.fallback is False


def test_each_provider_runs_the_file_that_suits_it() -> None:
    assert {name: onnx.precision(onnx.Config(provider=name)) for name in onnx.FILES} == onnx.FILES  # type: ignore[arg-type]
    assert onnx.precision(onnx.Config()) == "int8"


def test_an_error_while_it_runs_is_ours(
    backend: onnx.OnnxGpuBackend, runtime: type[fake_ort.Session], cuda: FakeCuda
) -> None:
    runtime.fault = "CUDNN_STATUS_EXECUTION_FAILED\nmore"
    with pytest.raises(InferenceError, match=r"fp32\.onnx: CUDNN_STATUS_EXECUTION_FAILED$"):
        backend.infer(green(1))
    runtime.fault = ""
    cuda.fail("cuMemcpyHtoDAsync", 700)
    with pytest.raises(InferenceError, match=r"fp32\.onnx: cuMemcpyHtoDAsync: an illegal memory access"):
        backend.infer(green(1))


def test_a_runtime_without_the_provider_says_which_package_has_it(config: onnx.Config, loaded: Model) -> None:
    if onnx.GPU[config.provider] in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has it")
    with pytest.raises(InferenceError, match=r"has no \w+ExecutionProvider: install onnxruntime-gpu"):
        onnx.open(config, loaded)


def test_a_provider_that_would_run_on_the_cpu_is_refused(
    runtime: type[fake_ort.Session], config: onnx.Config, loaded: Model
) -> None:
    runtime.missing_libraries = True
    with pytest.raises(InferenceError, match="its CUDA libraries are missing"):
        onnx.open(config, loaded)


@pytest.mark.parametrize("call", ["cuInit", "cuStreamCreate", "cuMemAlloc", "cuMemHostAlloc"])
def test_a_gpu_that_fails_while_it_is_opened_leaves_nothing(
    call: str, runtime: type[fake_ort.Session], config: onnx.Config, loaded: Model, cuda: FakeCuda
) -> None:
    cuda.fail(call, OUT_OF_MEMORY)
    with pytest.raises(InferenceError, match=f"GPU 0: {call}: out of memory"):
        onnx.open(config, loaded)


def test_each_address_has_a_graph_of_its_own(
    runtime: type[fake_ort.Session], loaded: Model, caplog: pytest.LogCaptureFixture
) -> None:
    backend = onnx.open(onnx.Config(provider="cuda", cuda_graph=True), loaded)
    images = [DeviceImage(green(level)) for level in range(0, 10 * (onnx.GRAPHS + 2), 10)]
    for _ in range(2):
        for level, image in enumerate(images):
            assert np.allclose(backend.infer(image)["polyp"], polyp_logit(level * 10))
    assert len(backend._session.graphs) == onnx.GRAPHS  # the landing's, and of all frames but the last three
    assert [record.message for record in caplog.records] == [
        f"{onnx.GRAPHS} CUDA graphs are made: frames at other addresses go without one"
    ]
    backend.close()
    for image in images:
        image.close()


@pytest.mark.parametrize("provider", ["cpu", "tensorrt"])
def test_graphs_are_refused_where_they_would_be_ignored(provider: Any, loaded: Model) -> None:
    with pytest.raises(InferenceError, match=f'needs infer.provider = "cuda", it is {provider!r}'):
        onnx.open(onnx.Config(provider=provider, cuda_graph=True), loaded)


@pytest.mark.parametrize("method", ["bind_input", "bind_output", "clear_binding_inputs", "clear_binding_outputs"])
def test_the_fake_binds_as_the_real_one(method: str) -> None:
    names = [list(inspect.signature(getattr(kind, method)).parameters) for kind in (fake_ort.Binding, ort.IOBinding)]
    assert names[0] == names[1]


@pytest.mark.parametrize("method", ["get_providers", "disable_fallback", "io_binding", "run_with_iobinding"])
def test_the_fake_session_has_the_real_one_s_methods(method: str) -> None:
    kinds = (fake_ort.Session, fake_ort.RealSession)
    names = [list(inspect.signature(getattr(kind, method)).parameters) for kind in kinds]
    assert names[0] == names[1]
