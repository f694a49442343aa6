"""The kernel that ships, run as text over the fakes; the image it works on; assembled by NVIDIA's own assembler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge.errors import GpuError
from edge.memory import blacken, gpu
from edge.memory.blacken import PTX, Blackener
from edge.memory.device import DeviceImage
from tests.support import wheels
from tests.support.fake_cuda import FakeCuda

ARCHITECTURES = ("sm_75", "sm_87", "sm_90")  # Turing, Orin, Hopper
HEIGHT, WIDTH, PITCH = 7, 5, 64
OUT_OF_MEMORY, INVALID_PTX, ILLEGAL_ADDRESS = 2, 218, 700


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(1).integers(1, 256, (HEIGHT, PITCH), dtype=np.uint8)


def image_of(cuda: FakeCuda, rows: np.ndarray) -> DeviceImage:
    return DeviceImage(cuda.address(rows.ctypes.data), HEIGHT, WIDTH, PITCH)


def mask() -> np.ndarray:
    kept = np.random.default_rng(2).integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint32)
    kept[0, :2] = 0, 1
    return kept * np.uint32(0xFFFFFFFF)


def test_the_outside_becomes_black_in_place_and_nothing_else_changes(
    cuda: FakeCuda, device: gpu.Device, rows: np.ndarray
) -> None:
    expected = rows.copy()
    expected[:, : WIDTH * 4].reshape(HEIGHT, WIDTH, 4)[mask() == 0] = 0
    blackener = Blackener()
    blackener.keep(mask())
    blackener(image_of(cuda, rows))
    np.testing.assert_array_equal(rows, expected)
    assert (rows[:, WIDTH * 4 :] == expected[:, WIDTH * 4 :]).all()  # the padding
    assert cuda.calls("cuMemcpyHtoDAsync") == 1  # the mask; never a pixel
    assert cuda.calls("cuMemcpyDtoHAsync") == cuda.calls("cuMemcpy2DAsync") == 0
    blackener.close()
    blackener.close()


def test_a_mask_that_keeps_everything_costs_nothing(cuda: FakeCuda, device: gpu.Device, rows: np.ndarray) -> None:
    before, blackener = rows.copy(), Blackener()
    for kept in (mask(), np.full((HEIGHT, WIDTH), 0xFFFFFFFF, np.uint32)):
        blackener.keep(kept)
    blackener(image_of(cuda, rows))
    np.testing.assert_array_equal(rows, before)
    assert cuda.calls("cuLaunchKernel") == 0
    assert cuda.living() == {"contexts": 1, "streams": 1, "modules": 1}
    blackener.close()


@pytest.mark.parametrize("name", ["cuStreamCreate", "cuModuleLoadData", "cuModuleGetFunction"])
def test_what_fails_while_it_is_made_is_given_back(cuda: FakeCuda, device: gpu.Device, name: str) -> None:
    cuda.fail(name, INVALID_PTX)
    with pytest.raises(GpuError, match=name):
        Blackener()
    assert cuda.living() == {"contexts": 1}


@pytest.mark.parametrize("name", ["cuLaunchKernel", "cuStreamSynchronize"])
def test_a_kernel_that_fails_is_an_error(cuda: FakeCuda, device: gpu.Device, rows: np.ndarray, name: str) -> None:
    blackener = Blackener()
    blackener.keep(mask())
    cuda.fail(name, ILLEGAL_ADDRESS)
    with pytest.raises(GpuError, match=f"{name}: an illegal memory access"):
        blackener(image_of(cuda, rows))
    blackener.close()


def test_a_mask_that_finds_no_room_is_an_error_and_the_one_before_is_gone(cuda: FakeCuda, device: gpu.Device) -> None:
    blackener = Blackener()
    blackener.keep(mask())
    cuda.fail("cuMemAlloc", OUT_OF_MEMORY)
    with pytest.raises(GpuError, match="cuMemAlloc: out of memory"):
        blackener.keep(mask())
    blackener.close()


def test_a_picture_waits_for_all_its_readers_and_says_what_failed() -> None:
    image, asked = DeviceImage(1 << 40, 4, 4, 256), []

    def broken() -> None:
        asked.append("broken")
        raise GpuError("cuStreamSynchronize: an illegal memory access")

    image.hold(broken)
    image.hold(lambda: asked.append("second"))
    with pytest.raises(GpuError, match="illegal memory access"):
        image.settle()
    assert asked == ["broken", "second"]
    image.settle()  # nobody reads any more
    assert asked == ["broken", "second"]


def test_the_interface_is_cudas_own_of_version_3() -> None:
    assert DeviceImage(1 << 40, 48, 64, 512).__cuda_array_interface__ == {
        "version": 3,
        "typestr": "|u1",
        "shape": (48, 64, 4),
        "strides": (512, 4, 1),
        "data": (1 << 40, False),
        "stream": None,
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvidias_assembler_takes_it(architecture: str, tmp_path: Path) -> None:
    folder = wheels.unpacked("nvidia-cuda-nvcc-cu12==12.*")
    ptxas = next(folder.rglob("bin/ptxas"))
    ptxas.chmod(0o755)
    command = [str(ptxas), "-arch", architecture, "--warning-as-error", "-o", str(tmp_path / "out"), str(PTX)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").stat().st_size > 0


def test_the_package_ships_it() -> None:
    assert PTX.parent == Path(blacken.__file__).parent
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'"memory/{PTX.name}"' in project
