"""A libcuda for tests: `libcuda.c`, compiled where the tests run, under the real cuda-bindings.

It is loaded into the test's process by its name, before the bindings look for `libcuda.so.1`, so that they find this
one. Where a real driver is loaded already, or gcc or the bindings are missing, the test is skipped with the reason.
"""

from __future__ import annotations

import ctypes
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.memory import cuda as cuda_memory
from edge.memory import mapper
from tests.support import compiled, wheels

LIBRARY = "libcuda.so.1"
SOURCE = Path(__file__).with_name("libcuda.c")
ROOT = Path(__file__).parents[3]
BINDINGS = "cuda-bindings==13.*"
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p))
KINDS = ("contexts", "streams", "graphs", "executables", "host", "device", "modules", "resources")


class FakeCuda:
    """What a test asks of the driver, and sees of it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.fake_memory.argtypes, library.fake_memory.restype = [ctypes.c_uint64], ctypes.c_void_p
        library.fake_address.argtypes, library.fake_address.restype = [ctypes.c_void_p], ctypes.c_uint64
        library.cuStreamIsCapturing.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.cuLaunchHostFunc.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        self._kernels: list[object] = []

    def fail(self, name: str, code: int, nth: int = 1) -> None:
        """The `nth` call of `name` from now on answers the CUresult `code`, once."""
        self._library.fake_fail(name.encode(), nth, code)

    def calls(self, name: str) -> int:
        return int(self._library.fake_calls(name.encode()))

    def living(self) -> dict[str, int]:
        """What was lent and not given back, by kind; kinds of which there is nothing are left out."""
        counts = {kind: int(self._library.fake_living(kind.encode())) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}

    def devices(self, count: int) -> None:
        self._library.fake_devices(count)

    def integrated(self, yes: bool) -> None:
        self._library.fake_integrated(int(yes))

    def memory(self, address: int) -> int:
        """Where the host finds what lies at a device address; 0 when it is none."""
        return int(self._library.fake_memory(address) or 0)

    def picture(self, image: Any) -> np.ndarray:
        """A copy of what a GPU's reader would find: (H, W, 4) uint8."""
        interface = image.__cuda_array_interface__
        (height, width, depth), (pitch, *_) = interface["shape"], interface["strides"]
        block = (ctypes.c_uint8 * (pitch * height)).from_address(self.memory(interface["data"][0]))
        rows = np.frombuffer(block, np.uint8).reshape(height, pitch)[:, : width * depth]
        return np.array(rows.reshape(height, width, depth))

    def address(self, memory: int) -> int:
        """The device address of memory that a test made: as a capture card's buffer would have one."""
        return int(self._library.fake_address(memory))

    def enqueue(self, stream: int, function: object) -> int:
        """Let a ctypes `CFUNCTYPE(None, c_void_p)` run on a stream, or be captured. The caller keeps it alive."""
        return int(self._library.cuLaunchHostFunc(stream, ctypes.cast(function, ctypes.c_void_p), None))  # type: ignore[arg-type]

    def capturing(self, stream: int) -> bool:
        status = ctypes.c_int()
        self._library.cuStreamIsCapturing(stream, ctypes.byref(status))
        return status.value != 0

    def kernel(self, name: str, sizes: str, run: Callable[[int, int, list[int]], None]) -> None:
        """What the PTX entry `name` does: `run(blocks, threads, arguments)`; `sizes`: bytes of each, "8844"."""

        def called(grid: int, block: int, places: object) -> None:
            kinds = {"4": ctypes.c_uint32, "8": ctypes.c_uint64}
            values = [kinds[size].from_address(places[i]).value for i, size in enumerate(sizes)]  # type: ignore[index]
            run(grid, block, values)

        kept = KERNEL(called)
        self._kernels.append(kept)
        self._library.fake_kernel(name.encode(), sizes.encode(), kept)

    def reset(self) -> None:
        self._library.fake_reset()
        self._library.cuCtxSetCurrent(None)


def bindings() -> None:
    """Make the real `cuda.bindings` importable, or skip."""
    wheels.importable(BINDINGS, "cuda.bindings", "cuda-pathfinder")


def for_gstreamer(folder: Path) -> dict[str, str]:
    """The environment of a process whose GStreamer finds the fakes, which are made in `folder`, and a registry that
    knows them. Skips the test where GStreamer has no CUDA library."""
    if not mapper.loads(cuda_memory.LIBRARY):
        pytest.skip(f"this GStreamer has no {cuda_memory.LIBRARY}")
    bindings()
    for source, library in (
        (SOURCE.with_name("gst.c"), LIBRARY),
        (ROOT / "tools" / "gpu_bench" / "no_cuvid.c", "libnvcuvid.so.1"),
    ):
        compiled.shared(folder / library, source)
    libraries = {"LD_LIBRARY_PATH": str(folder), "GST_REGISTRY": str(folder / "registry.bin")}
    return os.environ | libraries | {"PYTHONPATH": str(ROOT)}


@functools.cache
def _loaded() -> FakeCuda | str:
    """The one driver of this process, or why there is none."""
    if compiled.is_loaded(LIBRARY):
        return f"a real {LIBRARY} is loaded in this process"
    bindings()
    with tempfile.TemporaryDirectory() as folder:
        return FakeCuda(ctypes.CDLL(str(compiled.shared(Path(folder) / LIBRARY, SOURCE))))


def started() -> Iterator[FakeCuda]:
    """For a fixture: a driver in its first state; afterwards nothing may be left that was lent."""
    fake = _loaded()
    if isinstance(fake, str):
        pytest.skip(fake)
    fake.reset()
    yield fake
    left = fake.living()
    fake.reset()
    assert not left, f"not given back: {left}"
