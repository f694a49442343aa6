"""edge/memory/gpu.py with the real cuda-bindings, over the driver of tests/support/fake_cuda."""

from __future__ import annotations

import builtins
import ctypes
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edge.errors import GpuError
from edge.memory import gpu
from tests.support import fake_cuda
from tests.support.fake_cuda import FakeCuda

INVALID_VALUE, OUT_OF_MEMORY, ILLEGAL_ADDRESS, CAPTURE_INVALIDATED = 1, 2, 700, 901


@pytest.fixture
def stream(device: gpu.Device) -> Iterator[gpu.Stream]:
    made = gpu.Stream()
    yield made
    made.close()


def test_a_device_says_what_it_is(cuda: FakeCuda) -> None:
    cuda.integrated(True)
    device = gpu.Device.open()
    assert (device.name, device.compute_capability, device.integrated) == ("Fake GPU 0", (8, 7), True)
    assert (device.memory_bytes, device.uuid) == (8 << 30, "a0" * 16)
    device.close()
    device.close()


def test_a_device_that_is_not_there_is_named_by_the_driver(cuda: FakeCuda) -> None:
    with pytest.raises(GpuError, match=r"cuDeviceGet: invalid device ordinal \(CUDA_ERROR_INVALID_DEVICE\)"):
        gpu.Device.open(3)
    cuda.devices(0)
    with pytest.raises(GpuError, match="cuInit: no CUDA-capable device is detected"):
        gpu.Device.open()


def test_a_device_that_fails_while_it_is_opened_is_given_back(cuda: FakeCuda) -> None:
    cuda.fail("cuDeviceTotalMem", INVALID_VALUE)
    with pytest.raises(GpuError, match="cuDeviceTotalMem: invalid argument"):
        gpu.Device.open()


def test_another_thread_has_to_make_the_context_current(device: gpu.Device) -> None:
    said: list[str] = []

    def allocate() -> None:
        try:
            gpu.Linear(16)
        except GpuError as exc:
            said.append(str(exc))
        device.make_current()
        gpu.Linear(16).close()

    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()
    assert said == ["cuMemAlloc: invalid device context (CUDA_ERROR_INVALID_CONTEXT)"]


def test_out_of_memory_is_said_in_cuda_s_words(cuda: FakeCuda, device: gpu.Device) -> None:
    cuda.fail("cuMemAlloc", OUT_OF_MEMORY)
    with pytest.raises(GpuError) as caught:
        gpu.Linear(1 << 20)
    assert str(caught.value) == "cuMemAlloc: out of memory (CUDA_ERROR_OUT_OF_MEMORY)"


def test_mapped_memory_is_one_memory_with_two_addresses(cuda: FakeCuda, device: gpu.Device) -> None:
    mapped = gpu.Mapped((2, 3), "float32")
    assert not mapped.array.any()
    mapped.array[1, 2] = 7.5
    seen = (ctypes.c_float * 6).from_address(cuda.memory(mapped.pointer))
    assert list(seen) == [0, 0, 0, 0, 0, 7.5]
    mapped.close()
    mapped.close()


def test_mapped_memory_without_a_device_address_is_given_back(cuda: FakeCuda, device: gpu.Device) -> None:
    cuda.fail("cuMemHostGetDevicePointer", INVALID_VALUE)
    with pytest.raises(GpuError, match="cuMemHostGetDevicePointer"):
        gpu.Mapped((4,), "uint8")


def test_copies_are_done_when_the_stream_is(stream: gpu.Stream) -> None:
    there = gpu.Linear(12)
    back = np.zeros(12, np.uint8)
    gpu.copy_to_device(there.pointer, np.arange(12, dtype=np.uint8), stream)
    gpu.copy_to_host(back, there.pointer, stream)
    assert not back.any()
    stream.synchronize()
    assert back.tolist() == list(range(12))
    there.close()


def test_rows_that_lie_apart_are_packed(stream: gpu.Stream) -> None:
    pitched, packed = gpu.Linear(3 * 8), gpu.Linear(3 * 5)
    rows, back = np.arange(24, dtype=np.uint8).reshape(3, 8), np.zeros((3, 5), np.uint8)
    gpu.copy_to_device(pitched.pointer, rows, stream)
    gpu.copy_rows(packed.pointer, pitched.pointer, 8, 5, 3, stream)
    gpu.copy_to_host(back, packed.pointer, stream)
    stream.synchronize()
    assert np.array_equal(back, rows[:, :5])
    pitched.close()
    packed.close()


def test_an_error_of_the_work_surfaces_when_the_stream_is_waited_for(cuda: FakeCuda, stream: gpu.Stream) -> None:
    cuda.fail("cuStreamSynchronize", ILLEGAL_ADDRESS)
    with pytest.raises(GpuError, match="an illegal memory access was encountered"):
        stream.synchronize()


def test_a_graph_repeats_what_was_captured(stream: gpu.Stream) -> None:
    there = gpu.Linear(4)
    source, back = np.full(4, 1, np.uint8), np.zeros(4, np.uint8)

    def work() -> None:
        gpu.copy_to_device(there.pointer, source, stream)
        gpu.copy_to_host(back, there.pointer, stream)

    graph = stream.captured(work)
    assert graph is not None
    stream.synchronize()
    assert not back.any()  # recorded, not run
    for value in (5, 9):
        source[:] = value
        graph.launch(stream)
        stream.synchronize()
        assert back.tolist() == [value] * 4
    graph.close()
    graph.close()
    there.close()


@pytest.mark.parametrize("failing", ["enqueue", "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"])
def test_what_cannot_be_captured_leaves_a_stream_that_works(
    failing: str, cuda: FakeCuda, stream: gpu.Stream, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        if failing == "enqueue":
            raise GpuError("the engine cannot be captured")

    if failing != "enqueue":
        cuda.fail(failing, CAPTURE_INVALIDATED)
    assert stream.captured(work) is None
    assert "no CUDA graph" in caplog.text
    again = stream.captured(lambda: None)
    assert again is not None
    again.close()


def test_a_capture_that_waits_for_the_stream_fails_and_ends(stream: gpu.Stream) -> None:
    assert stream.captured(stream.synchronize) is None
    stream.synchronize()


PTX = b".version 7.0\n.target sm_50\n.address_size 64\n.visible .entry add(.param .u64 p, .param .u32 n) { ret; }\n"


def test_a_kernel_gets_its_arguments_by_value(cuda: FakeCuda, stream: gpu.Stream) -> None:
    seen: list[Any] = []
    cuda.kernel("add", "84", lambda blocks, threads, arguments: seen.append((blocks, threads, arguments)))
    module = gpu.Module(PTX)
    number = ctypes.c_uint32(77)
    gpu.launch(module.function("add"), (4, 2, 1), (32, 4, 1), [ctypes.c_uint64(1 << 40), number], stream)
    number.value = 0  # read at the call, not at the run
    stream.synchronize()
    assert seen == [(8, 128, [1 << 40, 77])]
    with pytest.raises(GpuError, match="cuModuleGetFunction: named symbol not found"):
        module.function("missing")
    module.close()
    module.close()
    with pytest.raises(GpuError, match="a PTX JIT compilation failed"):
        gpu.Module(b"not ptx")


def test_an_old_driver_s_missing_function_is_named(device: gpu.Device) -> None:
    with pytest.raises(GpuError, match=r"cuGraphCreate: .*cuGraphCreate"):
        gpu.call("cuGraphCreate", 0)


def test_missing_bindings_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.driver.cache_clear()
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("cuda"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(GpuError, match=r"cannot be imported.*pip install 'endoedge\[cuda12\]'"):
        gpu.driver()


def test_a_missing_driver_is_another_error() -> None:
    """In a process of its own: here the fake one may be loaded."""
    import subprocess

    fake_cuda.bindings()
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from edge.memory import gpu\nfrom edge.errors import GpuError\n"
        "import ctypes\n"
        "try: ctypes.CDLL('libcuda.so.1'); print('there is one')\n"
        "except OSError:\n"
        "    try: gpu.Device.open()\n"
        "    except GpuError as exc: print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    if done.stdout == "there is one\n":
        pytest.skip("this machine has a driver")
    assert done.stdout.startswith("libcuda.so.1 cannot be loaded, NVIDIA's driver is missing"), done.stderr
