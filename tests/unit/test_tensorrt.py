"""The TensorRT backend, whole, over tests/support/fake_tensorrt and fake_cuda with the real cuda-bindings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edge import golden, model
from edge.errors import InferenceError
from edge.infer import engine_store, tensorrt
from edge.infer.trt_build import Progress
from edge.memory import gpu
from edge.memory.host import HostImage
from edge.types import Copies, Model
from tests.support import fake_tensorrt, models
from tests.support.engines import build
from tests.support.fake_cuda import FakeCuda
from tests.support.fake_tensorrt import Fake
from tests.support.frames import DeviceImage, green, polyp_logit
from tests.support.trt_faults import Seen

SIZE = models.SIZE
OUT_OF_MEMORY, ILLEGAL_ADDRESS = 2, 700


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model.load(models.build(tmp_path_factory.mktemp("model"), precisions=models.WITH_TENSORRT), "int8_trt")


@pytest.fixture
def config(tmp_path: Path) -> tensorrt.Config:
    return tensorrt.Config(cache_dir=str(tmp_path / "engines"))


@pytest.fixture
def backend(trt: Fake, config: tensorrt.Config, loaded: Model) -> Iterator[tensorrt.TensorRTBackend]:
    build(config, loaded)
    trt.seen = Seen()
    opened = tensorrt.open(config, loaded)
    yield opened
    opened.close()


def test_the_released_answers_come_out(backend: tensorrt.TensorRTBackend, loaded: Model) -> None:
    assert all(difference.fits for difference in golden.differences(loaded, backend))


def test_a_frame_on_the_device_is_read_where_it_lies(backend: tensorrt.TensorRTBackend, trt: Fake) -> None:
    image = DeviceImage(green(200))
    outputs = backend.infer(image)
    assert np.allclose(outputs["polyp"], polyp_logit(200))
    assert trt.seen.executions[-1] == image.pointer
    assert backend.copies == Copies()
    for copy in ("cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemcpy2DAsync"):
        assert trt.cuda.calls(copy) == 0
    image.close()


def test_rows_that_lie_apart_are_packed_on_the_device_and_counted(backend: tensorrt.TensorRTBackend) -> None:
    image = DeviceImage(green(120), pitch=SIZE * 4 + 96)
    assert np.allclose(backend.infer(image)["polyp"], polyp_logit(120))
    assert backend.copies == Copies(device=1)
    image.close()


@pytest.mark.parametrize(("integrated", "counted"), [(True, Copies(host=1)), (False, Copies(h2d=1))])
def test_a_host_frame_is_copied_once_and_counted(
    integrated: bool, counted: Copies, trt: Fake, config: tensorrt.Config, loaded: Model
) -> None:
    trt.cuda.integrated(integrated)
    build(config, loaded)
    backend = tensorrt.open(config, loaded)
    assert np.allclose(backend.infer(green(90))["polyp"], polyp_logit(90))
    assert backend.copies == counted
    backend.close()


def test_padded_host_rows_arrive_as_they_should(backend: tensorrt.TensorRTBackend) -> None:
    wide = np.zeros((SIZE, SIZE + 8, 4), np.uint8)
    wide[:, :SIZE] = green(60)
    outputs = backend.infer(HostImage(wide.ctypes.data, SIZE, SIZE, (SIZE + 8) * 4))
    assert np.allclose(outputs["polyp"], polyp_logit(60))
    assert backend.copies == Copies(host=1, h2d=1)


def test_a_frame_that_is_still_written_is_waited_for(backend: tensorrt.TensorRTBackend) -> None:
    producer = gpu.Stream()
    image = DeviceImage(green(0))
    pixels = green(240)
    gpu.copy_to_device(image.pointer, pixels, producer)  # not done before somebody waits for the stream
    image.__cuda_array_interface__["stream"] = producer.handle
    assert np.allclose(backend.infer(image)["polyp"], polyp_logit(240))
    image.close()
    producer.close()


def test_each_buffer_of_the_pool_gets_a_graph_of_its_own(backend: tensorrt.TensorRTBackend, trt: Fake) -> None:
    pool = [DeviceImage(green(value)) for value in (40, 80, 120, 160)]
    for _ in range(5):
        for image, value in zip(pool, (40, 80, 120, 160), strict=True):
            assert np.allclose(backend.infer(image)["polyp"], polyp_logit(value))
    assert trt.cuda.calls("cuGraphInstantiate") == len(pool)
    assert trt.cuda.calls("cuGraphLaunch") == 4 * len(pool)  # of five rounds, the first is enqueued
    for image in pool:
        image.close()


def test_graphs_of_buffers_that_came_no_more_are_let_go(backend: tensorrt.TensorRTBackend, trt: Fake) -> None:
    steady = DeviceImage(green(250))
    passing = [DeviceImage(green(value)) for value in range(tensorrt.GRAPHS + 6)]
    for value, image in enumerate(passing):
        for _ in range(2):
            assert np.allclose(backend.infer(image)["polyp"], polyp_logit(value))
            assert np.allclose(backend.infer(steady)["polyp"], polyp_logit(250))
    assert trt.cuda.living()["executables"] == tensorrt.GRAPHS
    assert trt.cuda.calls("cuGraphInstantiate") == len(passing) + 1  # the one that always came again was kept
    for image in (steady, *passing):
        image.close()


def test_an_engine_that_cannot_be_captured_is_enqueued(
    backend: tensorrt.TensorRTBackend, trt: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    trt.faults.enqueue_captured = True
    image = DeviceImage(green(100))
    for _ in range(4):
        assert np.allclose(backend.infer(image)["polyp"], polyp_logit(100))
    assert trt.cuda.calls("cuGraphLaunch") == 0
    assert caplog.text.count("Cask convolution cannot be captured") == 1  # said once, tried once
    image.close()


@pytest.mark.parametrize("wrong", [(SIZE, SIZE, 3), (SIZE // 2, SIZE, 4)])
def test_a_device_frame_of_another_size_is_refused(wrong: tuple[int, ...], backend: tensorrt.TensorRTBackend) -> None:
    image = DeviceImage(np.zeros(wrong, np.uint8))
    with pytest.raises(InferenceError, match="was expected"):
        backend.infer(image)
    image.close()


def test_planes_are_no_pixels(backend: tensorrt.TensorRTBackend) -> None:
    image = DeviceImage(green(1))
    image.__cuda_array_interface__["strides"] = (SIZE, 1, SIZE * SIZE)
    with pytest.raises(InferenceError, match="pixels of RGBA were expected"):
        backend.infer(image)
    image.close()


def test_a_failed_enqueue_says_what_tensorrt_said_and_the_next_frame_works(
    backend: tensorrt.TensorRTBackend, trt: Fake
) -> None:
    trt.faults.enqueue = "Cask Error in checkCaskExecError: 11"
    with pytest.raises(InferenceError, match=r"int8_trt\.onnx: TensorRT did not run it: Cask Error in checkCask"):
        backend.infer(green(1))
    trt.faults.enqueue = ""
    assert np.allclose(backend.infer(green(100))["polyp"], polyp_logit(100))


def test_an_error_on_the_gpu_is_an_inference_error(backend: tensorrt.TensorRTBackend, trt: Fake) -> None:
    image = DeviceImage(green(1))
    trt.cuda.fail("cuStreamSynchronize", ILLEGAL_ADDRESS)
    with pytest.raises(InferenceError, match=r"int8_trt\.onnx: cuStreamSynchronize: an illegal memory access"):
        backend.infer(image)
    image.close()


def test_an_address_that_is_refused_is_said(backend: tensorrt.TensorRTBackend, trt: Fake) -> None:
    trt.faults.bind = True
    with pytest.raises(InferenceError, match="image cannot be bound: Address of image is not on the device"):
        backend.infer(green(1))


# ------------------------------------------------------------------------------------------- opening


def test_without_an_engine_the_way_to_one_is_said(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    with pytest.raises(
        InferenceError, match=r"no engine for int8_trt .*TensorRT 10\.3\.0, Fake GPU 0 sm87.*`endoedge model"
    ):
        tensorrt.open(config, loaded)


def test_without_tensorrt_the_package_is_named(config: tensorrt.Config, loaded: Model, cuda: FakeCuda) -> None:
    with pytest.raises(InferenceError, match=r"bindings cannot be imported.*python3-libnvinfer"):
        tensorrt.open(config, loaded)


def test_without_a_gpu_the_driver_s_words_are_kept(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    trt.cuda.devices(0)
    with pytest.raises(InferenceError, match="GPU 0: cuInit: no CUDA-capable device is detected"):
        tensorrt.open(config, loaded)


@pytest.mark.parametrize("call", ["cuStreamCreate", "cuMemHostAlloc", "cuMemAlloc"])
def test_a_gpu_without_memory_fails_clearly_and_leaves_nothing(
    call: str, trt: Fake, config: tensorrt.Config, loaded: Model
) -> None:
    build(config, loaded)
    trt.cuda.fail(call, OUT_OF_MEMORY)
    with pytest.raises(InferenceError, match=f"int8_trt.onnx: {call}: out of memory"):
        tensorrt.open(config, loaded)


def test_no_execution_context_is_said(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    build(config, loaded)
    trt.faults.context = "Requested amount of GPU memory (1073741824 bytes) could not be allocated."
    with pytest.raises(InferenceError, match="no execution context: Requested amount of GPU memory"):
        tensorrt.open(config, loaded)


def test_tensors_that_differ_from_the_manifest_are_refused(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    build(config, loaded)
    wrong = msgspec.structs.replace(loaded.manifest.outputs[0], shape=(1, 1, 7, 7))
    outputs = {"a shape": [wrong, *loaded.manifest.outputs[1:]], "one more": loaded.manifest.outputs[:2]}
    said = {"a shape": r"polyp should be float32 \[1, 1, 7, 7\], the engine has", "one more": "has not: detail"}
    for what, changed in outputs.items():
        other = msgspec.structs.replace(loaded, manifest=msgspec.structs.replace(loaded.manifest, outputs=changed))
        with pytest.raises(InferenceError, match=said[what]):
            tensorrt.open(config, other)


def test_outputs_that_are_only_counted_are_the_model_s_in_their_order(
    trt: Fake, config: tensorrt.Config, loaded: Model
) -> None:
    """torch-tensorrt before 2.14."""
    graph = onnx.load_from_string(loaded.content)
    for place, output in enumerate(loaded.manifest.outputs):
        for node in graph.graph.node:
            node.output[:] = [f"output{place}" if name == output.name else name for name in node.output]
        graph.graph.output[place].name = f"output{place}"
    device = tensorrt.open_device(config)
    backend = tensorrt.TensorRTBackend(device, loaded, trt.plan(graph.SerializeToString()))
    assert all(difference.fits for difference in golden.differences(loaded, backend))
    backend.close()


def test_an_engine_s_inside_that_is_broken_is_said(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    """Its digest is right: TensorRT itself wrote it so."""
    device = tensorrt.open_device(config)
    plan = trt.plan(b"no onnx")
    tensorrt.store(config).put(
        tensorrt.key(device, loaded), plan, build_s=1, golden_sha256=loaded.manifest.golden.sha256
    )
    device.close()
    with pytest.raises(InferenceError, match=r"its engine cannot be loaded: .*the plan is corrupted"):
        tensorrt.open(config, loaded)


def test_an_engine_of_another_tensorrt_is_not_used(
    monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda, config: tensorrt.Config, loaded: Model
) -> None:
    fake_tensorrt.install(monkeypatch, cuda, (10, 3, 0, 26))
    build(config, loaded)
    fake_tensorrt.install(monkeypatch, cuda, (10, 16, 1, 11))
    with pytest.raises(InferenceError, match=r"no engine for .*TensorRT 10\.16\.1"):
        tensorrt.open(config, loaded)


# ------------------------------------------------------------------------------------------- building


@pytest.mark.parametrize(("version", "bit"), [((10, 3, 0, 26), 1), ((10, 16, 1, 11), 1), ((11, 4, 0, 106), 0)])
def test_networks_are_strongly_typed_in_every_generation(
    version: tuple[int, int, int, int],
    bit: int,
    monkeypatch: pytest.MonkeyPatch,
    cuda: FakeCuda,
    config: tensorrt.Config,
    loaded: Model,
) -> None:
    fake = fake_tensorrt.install(monkeypatch, cuda, version)
    plan = build(config, loaded)
    assert fake.seen.flags == 1 << bit  # the flag's number is not the same everywhere
    assert fake.seen.workspace == config.workspace_mib * 2**20
    assert engine_store.plan_version(plan) == ".".join(map(str, version[:3]))
    backend = tensorrt.open(config, loaded)
    assert np.allclose(backend.infer(green(100))["polyp"], polyp_logit(100))
    backend.close()


def test_progress_is_told_of_the_outer_phases(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    told: list[Progress] = []
    build(config, loaded, lambda step: told.append(step) is None)
    assert told[:3] == [("Building the engine", 0, 3), ("Building the engine", 1, 3), ("Building the engine", 2, 3)]
    assert told[-1] == ("Serializing", 1, 1)
    assert {step.phase for step in told} == {"Building the engine", "Serializing"}


def test_a_build_can_be_stopped(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    with pytest.raises(InferenceError, match="TensorRT built no engine: cancelled"):
        build(config, loaded, lambda step: step.done < 2)
    with pytest.raises(InferenceError, match="no engine for"):
        tensorrt.open(config, loaded)


def test_a_build_that_fails_says_why(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    trt.faults.build = "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode})"
    with pytest.raises(
        InferenceError, match=r"int8_trt\.onnx: TensorRT built no engine: Error Code 10: Internal Error"
    ):
        build(config, loaded)


def test_an_onnx_that_tensorrt_cannot_read_is_said(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    with pytest.raises(InferenceError, match=r"cannot read it: node 0 \(Conv first\): Failed to parse"):
        build(config, msgspec.structs.replace(loaded, content=b"\x08\x08garbage"))


def test_the_released_model_can_be_read_and_answers(trt: Fake, config: tensorrt.Config) -> None:
    """As far as the fake knows TensorRT's rules: the bytes of a frame go into a cast first."""
    released = model.load(Path(__file__).parents[2] / "models" / "polyp-mobilenetv2-256", "int8_trt")
    build(config, released)
    opened = tensorrt.open(config, released)
    assert all(difference.fits for difference in golden.differences(released, opened))
    opened.close()


def test_nothing_can_be_built_without_a_gpu_that_tensorrt_knows(
    trt: Fake, config: tensorrt.Config, loaded: Model
) -> None:
    trt.faults.no_gpu = True
    with pytest.raises(InferenceError, match="cannot start a build here: CUDA initialization failure with error: 35"):
        build(config, loaded)


def test_the_second_build_uses_the_first_one_s_timings(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    build(config, loaded)
    build(config, loaded)
    assert trt.seen.timing_caches == [b"", b"+timed"]


def test_timings_of_another_gpu_are_not_used(trt: Fake, config: tensorrt.Config, loaded: Model) -> None:
    build(config, loaded)
    trt.faults.timing_mismatch = True
    build(config, loaded)
    assert trt.seen.timing_caches == [b"", b""]


def test_layers_and_their_times_can_be_read(backend: tensorrt.TensorRTBackend) -> None:
    layers = msgspec.json.decode(backend.layers())["Layers"]
    assert layers[0]["Inputs"][0]["Format/Datatype"] == "Int8"
    counted, *times = backend.layer_times(green(5), runs=4)
    assert counted == {"count": 4}
    assert times[0] == {"name": layers[0]["Name"], "timeMs": 1.0, "averageMs": 0.25}


def test_the_power_mode_is_part_of_the_key(
    trt: Fake, config: tensorrt.Config, loaded: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tensorrt.open_device(config)
    status = tmp_path / "status"
    status.write_text("pmode:0002 fmode:quiet\n")
    for path, mode in ((status, "pmode:0002"), (tmp_path / "none", "fixed")):
        monkeypatch.setattr(tensorrt, "POWER_MODE", path)
        assert tensorrt.key(device, loaded).power_mode == mode
    device.close()
