"""NVMM to CUDA over fakes of libnvbufsurface and libcuda that hold what is mapped and registered against each other."""

from __future__ import annotations

import ctypes
import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.capture import gst
from edge.errors import GpuError
from edge.memory import mapper as mappers
from edge.memory import nvmm
from edge.memory.nvmm import NvmmMapper, Params, Planes, Surface
from tests.support import compiled, fake_nvmm
from tests.support.fake_cuda import FakeCuda
from tests.support.fake_nvmm import FakeSurfaces

W, H = 20, 12  # rows of 80 bytes in a pitch of 256
STRUCTS = {"NvBufSurface": Surface, "NvBufSurfaceParams": Params, "NvBufSurfacePlaneParams": Planes}
UNKNOWN = 999


@pytest.fixture
def library() -> Iterator[FakeSurfaces]:
    yield from fake_nvmm.started()


class Memories:
    """GstMemory as a pool has it: one a surface, freed when a test says so."""

    def __init__(self, library: FakeSurfaces) -> None:
        gst.init()
        self._gst = ctypes.CDLL("libgstreamer-1.0.so.0")
        self._gst.gst_allocator_alloc.restype = ctypes.c_void_p
        self._gst.gst_allocator_alloc.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
        self._library = library
        self._memory: dict[int, int] = {}

    def of(self, surface: int) -> int:
        """The address of the GstMemory that owns a surface."""
        if surface not in self._memory:
            self._memory[surface] = self._gst.gst_allocator_alloc(None, 64, None)
        return self._memory[surface]

    def free(self, surface: int) -> None:
        """The memory, and the surface with whatever hangs on it, as a pool that goes does."""
        self._gst.gst_mini_object_unref(ctypes.c_void_p(self._memory.pop(surface)))
        self._library.drop(surface)


@pytest.fixture
def memories(library: FakeSurfaces) -> Memories:
    return Memories(library)


@pytest.fixture
def mapper(cuda: FakeCuda, library: FakeSurfaces) -> Iterator[NvmmMapper]:
    opened = mappers.open("nvmm")
    assert isinstance(opened, NvmmMapper)
    yield opened
    opened.close()
    opened.close()


@pytest.fixture
def surface(library: FakeSurfaces, mapper: NvmmMapper) -> Iterator[Callable[..., int]]:
    made: list[int] = []

    def make(**options: int) -> int:
        made.append(library.surface(W, H, **options))
        return made[-1]

    yield make
    mapper.let_go()
    for one in made:
        library.free(one)


def as_array(cuda: FakeCuda, image: Any) -> np.ndarray:
    """The picture as a GPU's reader would find it."""
    interface = image.__cuda_array_interface__
    (height, width, depth), (pitch, *_) = interface["shape"], interface["strides"]
    block = (ctypes.c_uint8 * (pitch * height)).from_address(cuda.memory(interface["data"][0]))
    rows = np.frombuffer(block, np.uint8).reshape(height, pitch)
    return rows[:, : width * depth].reshape(height, width, depth)


def seen(mapper: NvmmMapper, memories: Memories, surface: int) -> Any:
    return mapper.image(memories.of(surface), surface, H, W, 0)


def test_every_offset_is_the_compilers(tmp_path: Path) -> None:
    fields = [(name, field) for name, struct in STRUCTS.items() for field, *_ in struct._fields_]
    fields = [(name, field) for name, field in fields if not field.startswith("_")]
    prints = "".join(f'printf("%zu\\n", offsetof({name}, {field}));' for name, field in fields)
    source = f'#include <stddef.h>\n#include <stdio.h>\n#include "nvbufsurface.h"\nint main(void){{{prints}return 0;}}'
    (tmp_path / "offsets.c").write_text(source)
    here = Path(fake_nvmm.__file__).parent
    subprocess.run(
        [compiled.compiler(), f"-I{here}", "-o", tmp_path / "offsets", tmp_path / "offsets.c"], check=True, timeout=60
    )
    said = subprocess.run([tmp_path / "offsets"], capture_output=True, text=True, check=True, timeout=10).stdout.split()
    ours = [str(getattr(STRUCTS[name], field).offset) for name, field in fields]
    assert dict(zip(fields, ours, strict=True)) == dict(zip(fields, said, strict=True))
    documented = {("NvBufSurface", "memType"): 16, ("NvBufSurface", "surfaceList"): 24}
    documented |= {("NvBufSurfaceParams", name): at for name, at in (("bufferDesc", 24), ("planeParams", 48))}
    documented |= {("NvBufSurfaceParams", "dataPtr"): 40, ("NvBufSurfaceParams", "eglImage"): 312}
    documented |= {("NvBufSurfacePlaneParams", "pitch"): 36, ("NvBufSurfacePlaneParams", "bytesPerPix"): 84}
    assert {key: getattr(STRUCTS[key[0]], key[1]).offset for key in documented} == documented


def test_the_hardwares_memory_is_the_picture(
    cuda: FakeCuda, mapper: NvmmMapper, memories: Memories, surface: Callable[..., int]
) -> None:
    one = surface()
    written = np.random.default_rng(1).integers(0, 256, (H, W, 4), dtype=np.uint8)
    fake_nvmm.pixels(one)[:] = written
    image = seen(mapper, memories, one)
    assert image.__cuda_array_interface__["strides"] == (256, 4, 1)
    np.testing.assert_array_equal(as_array(cuda, image), written)
    keep = np.zeros((H, W), np.uint32)
    keep[3:7, 5:9] = 0xFFFFFFFF
    mapper.keep(keep)
    mapper.blacken(image)
    expected = np.where(keep[:, :, None] > 0, written, 0)
    np.testing.assert_array_equal(fake_nvmm.pixels(one), expected)
    copies = ("cuMemcpyDtoHAsync", "cuMemcpy2DAsync", "cuMemcpyHtoDAsync")
    assert [cuda.calls(name) for name in copies] == [0, 0, 1]  # the mask


def test_each_surface_of_a_pool_is_brought_once(
    cuda: FakeCuda, library: FakeSurfaces, mapper: NvmmMapper, memories: Memories, surface: Callable[..., int]
) -> None:
    pool = [surface() for _ in range(8)]
    pointers = [seen(mapper, memories, pool[n % 8]).__cuda_array_interface__["data"][0] for n in range(40)]
    assert pointers == pointers[:8] * 5
    assert len(set(pointers)) == 8
    assert cuda.calls("cuGraphicsEGLRegisterImage") == library.images == 8
    mapper.let_go()
    assert (cuda.calls("cuGraphicsUnregisterResource"), library.images) == (8, 0)
    assert cuda.living() == {"contexts": 1, "streams": 1, "modules": 1}
    seen(mapper, memories, pool[0])  # the next pipeline begins anew
    assert cuda.calls("cuGraphicsEGLRegisterImage") == 9


def test_another_buffer_at_the_same_place_is_brought_anew(
    cuda: FakeCuda, library: FakeSurfaces, mapper: NvmmMapper, memories: Memories, surface: Callable[..., int]
) -> None:
    one = surface()
    seen(mapper, memories, one)
    params = Surface.from_address(one).surfaceList[0]
    params.bufferDesc += 1
    with pytest.raises(GpuError, match="NvBufSurfaceMapEglImage"):  # the fake still has the old one's image
        seen(mapper, memories, one)
    params.bufferDesc -= 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": 2}, r"memory type 2 \(expected 4\)"),
        ({"layout": 1}, r"layout 1 \(expected 0\)"),
        ({"colour": 6}, r"colour format 6 \(expected 19\)"),
    ],
    ids=["CUDA device memory", "block linear", "NV12"],
)
def test_what_is_no_picture_of_ours_is_refused(
    library: FakeSurfaces,
    mapper: NvmmMapper,
    memories: Memories,
    surface: Callable[..., int],
    wrong: dict[str, int],
    says: str,
) -> None:
    with pytest.raises(GpuError, match=f"an NVMM surface is not what its caps say: {says}$"):
        seen(mapper, memories, surface(**wrong))
    assert library.images == 0


def test_sizes_planes_and_empty_surfaces_are_refused(
    mapper: NvmmMapper, memories: Memories, surface: Callable[..., int]
) -> None:
    one = surface()
    with pytest.raises(GpuError, match=r"width 20 \(expected 24\), height 12 \(expected 16\)$"):
        mapper.image(memories.of(one), one, 16, 24, 0)
    whole = Surface.from_address(one)
    planes = whole.surfaceList[0].planeParams
    planes.num_planes, planes.pitch[0] = 2, 60
    with pytest.raises(GpuError, match=r"planes 2 \(expected 1\), pitch 60 \(expected 80 or more\)$"):
        seen(mapper, memories, one)
    whole.numFilled = 0
    with pytest.raises(GpuError, match="came with nothing in it"):
        seen(mapper, memories, one)


STEPS = ("cuGraphicsEGLRegisterImage", "cuGraphicsResourceGetMappedEglFrame")


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_undoes_those_before_and_can_be_tried_again(
    cuda: FakeCuda,
    library: FakeSurfaces,
    mapper: NvmmMapper,
    memories: Memories,
    surface: Callable[..., int],
    step: str,
) -> None:
    one = surface()
    cuda.fail(step, UNKNOWN)
    with pytest.raises(GpuError, match=step):
        seen(mapper, memories, one)
    assert library.images == 0
    assert "resources" not in cuda.living()
    assert seen(mapper, memories, one).__cuda_array_interface__["shape"] == (H, W, 4)


def test_a_box_without_an_egl_display_says_what_to_do(
    library: FakeSurfaces, mapper: NvmmMapper, memories: Memories, surface: Callable[..., int]
) -> None:
    library.display(False)
    with pytest.raises(GpuError, match=r"EGL has no display here.*DISPLAY.*groups video and render"):
        seen(mapper, memories, surface())


def test_an_array_is_refused(
    cuda: FakeCuda, library: FakeSurfaces, mapper: NvmmMapper, memories: Memories, surface: Callable[..., int]
) -> None:
    library.arrays(True)
    with pytest.raises(GpuError, match="came as a CUDA array: nvvidconv needs bl-output=false"):
        seen(mapper, memories, surface())
    assert library.images == 0
    assert "resources" not in cuda.living()


def test_work_that_still_runs_is_waited_for_before_surfaces_go(
    cuda: FakeCuda, library: FakeSurfaces, mapper: NvmmMapper, memories: Memories, surface: Callable[..., int]
) -> None:
    """The fake refuses to unregister while any stream has work."""
    seen(mapper, memories, surface())
    done: list[int] = []
    work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: done.append(1))
    assert cuda.enqueue(mapper._blackener._stream.handle, work) == 0
    mapper.let_go()
    assert done == [1]
    assert library.images == 0


def test_giving_back_goes_on_when_it_fails(
    cuda: FakeCuda,
    library: FakeSurfaces,
    mapper: NvmmMapper,
    memories: Memories,
    caplog: pytest.LogCaptureFixture,
) -> None:
    all_three = [library.surface(W, H) for _ in range(3)]
    for one in all_three:
        seen(mapper, memories, one)
    cuda.fail("cuCtxSynchronize", UNKNOWN)
    cuda.fail("cuGraphicsUnregisterResource", UNKNOWN)
    with caplog.at_level(logging.ERROR):
        mapper.let_go()
    assert "the GPU's last work: cuCtxSynchronize" in caplog.text
    assert "a surface: cuGraphicsUnregisterResource" in caplog.text
    assert library.images == 1  # CUDA still has it, so EGL was not asked
    for one in all_three:
        library.drop(one)
    mapper.close()
    assert cuda.living() == {"resources": 1}
    cuda.reset()


def test_a_surface_that_was_freed_is_not_touched_again(
    cuda: FakeCuda, library: FakeSurfaces, mapper: NvmmMapper, memories: Memories
) -> None:
    """A pool that is replaced frees its surfaces while the pipeline goes on."""
    old = [library.surface(W, H) for _ in range(4)]
    for one in old:
        seen(mapper, memories, one)
    for one in old[:3]:
        memories.free(one)
    new = library.surface(W, H)
    seen(mapper, memories, new)
    assert cuda.living()["resources"] == 2
    memories.free(old[3])
    mapper.let_go()
    assert "resources" not in cuda.living()
    assert library.mistakes() == 0
    library.free(new)


def test_more_surfaces_than_a_pool_has_are_said_once(
    mapper: NvmmMapper, memories: Memories, surface: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(nvmm.MOST + 5):
        seen(mapper, memories, surface())
    assert caplog.text.count("its pool does not rotate") == 1


def test_without_the_library_it_is_said(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvmm, "LIBRARY", "libnvbufsurface.so.none")
    with pytest.raises(GpuError, match=r"libnvbufsurface\.so\.none cannot be loaded .*L4T multimedia"):
        nvmm.open()


def test_a_gpu_that_fails_while_it_is_opened_is_given_back(cuda: FakeCuda, library: FakeSurfaces) -> None:
    cuda.fail("cuModuleLoadData", UNKNOWN)
    with pytest.raises(GpuError, match="cuModuleLoadData"):
        nvmm.open()
    assert cuda.living() == {}
