"""What `endoedge check` says of the machine: targets, what they lack, and how to get it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import config
from edge.capture import profiles
from edge.cli import targets
from edge.cli.targets import Probe, Row
from edge.config import SiteConfig
from edge.errors import CaptureError
from tests.support import board_trees
from tests.support.board_trees import put

DEVICES = {
    "jetson-orin": ("dev/nvmap", "dev/nvhost-ctrl-gpu", "dev/nvhost-gpu", "dev/nvgpu/igpu0/ctrl", "dev/video0"),
    "x86-cuda": ("dev/nvidiactl", "dev/nvidia0"),
}


def site(profile: str = "auto", backend: str = "onnx") -> SiteConfig:
    capture = {"source": "v4l2", "profile": profile}
    return SiteConfig(device="d", pipeline="p", capture=capture, uplink={}, infer={"backend": backend})


def probe(root: Path, missing: tuple[str, ...] = (), refused: tuple[str, ...] = ()) -> Probe:
    """A machine that lacks these elements, libraries and modules, and lets nobody at these devices."""
    return Probe(
        root=root,
        missing_elements=lambda names: [name for name in names if name in missing],
        loads=lambda name: name not in missing,
        importable=lambda name: name not in missing,
        ours=lambda path: str(path.relative_to(root)) not in refused,
    )


def machine(root: Path, target: str) -> None:
    for name in DEVICES[target]:
        put(root, name, "")
    if target == "x86-cuda":
        put(root, "sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086")
        put(root, "sys/bus/pci/devices/0000:00:02.0/class", "0x030000")
        put(root, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de")
        put(root, "sys/bus/pci/devices/0000:01:00.0/class", "0x030200")


@pytest.fixture
def nano(tmp_path: Path) -> Iterator[Path]:
    with board_trees.grown("orin_nano_jp6", tmp_path) as root:
        machine(root, "jetson-orin")
        yield root


def test_a_pc_without_a_gpu_is_calm(tmp_path: Path) -> None:
    assert targets.rows(site(), probe(tmp_path, missing=("nvvidconv", "libcuda.so.1"))) == [
        Row("target", True, "no NVIDIA GPU: the cpu target"),
        Row("board", True, "no temperatures are to be had"),
    ]


def test_a_nvidia_sound_device_is_no_gpu(tmp_path: Path) -> None:
    put(tmp_path, "sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de")
    put(tmp_path, "sys/bus/pci/devices/0000:01:00.1/class", "0x040300")
    assert targets.rows(site(), probe(tmp_path))[0].found == "no NVIDIA GPU: the cpu target"


@pytest.mark.parametrize("wish", [{"profile": "x86-cuda"}, {"backend": "tensorrt"}])
def test_a_configuration_for_another_machine_is_a_fault(wish: dict[str, Any], tmp_path: Path) -> None:
    row = targets.rows(site(**wish), probe(tmp_path))[0]
    assert (row.what, row.good) == ("target", False)
    assert row.found.endswith("this machine is cpu")
    assert "onnx" in row.mend


def test_a_jetson_with_everything(nano: Path) -> None:
    rows = targets.rows(site(backend="tensorrt"), probe(nano))
    assert [row.what for row in rows] == [
        *("target", "jetson-orin: elements", "jetson-orin: libraries", "jetson-orin: permissions", "board")
    ]
    assert all(row.good and not row.mend for row in rows)
    assert rows[0].found.endswith("Developer Kit Super, Jetson Linux 36.4.3")
    assert rows[-1].found == "gpu-thermal is 49.8 C below its limit, power mode MAXN_SUPER"


@pytest.mark.parametrize(
    ("tree", "missing", "mend"),
    [
        ("orin_nano_jp6", "nvvidconv", "apt install nvidia-l4t-gstreamer"),
        ("orin_nano_jp6", "libcuda.so.1", "apt install nvidia-l4t-cuda"),
        ("orin_nx_jp7", "libcuda.so.1", "apt install nvidia-l4t-cuda-nvgpu"),
        ("orin_nx_jp7", "libnvbufsurface.so.1.0.0", "apt install nvidia-l4t-multimedia-utils"),
        ("orin_nano_jp6", "cuda.bindings", "pip install 'endoedge[cuda12]'"),
        ("orin_nx_jp7", "cuda.bindings", "pip install 'endoedge[cuda13]'"),
    ],
)
def test_what_is_missing_is_named_with_its_package(tree: str, missing: str, mend: str, tmp_path: Path) -> None:
    with board_trees.grown(tree, tmp_path) as root:
        machine(root, "jetson-orin")
        (row,) = [row for row in targets.rows(site(backend="tensorrt"), probe(root, (missing,))) if not row.good]
    assert row.found == f"missing: {missing}"
    assert row.mend == mend


def test_it_is_a_remark_where_the_configuration_does_without(nano: Path) -> None:
    rows = targets.rows(site(), probe(nano, missing=("tensorrt",)))
    assert all(row.good for row in rows)
    assert rows[0].found.endswith("the configuration uses the cpu target")
    assert "python3-libnvinfer" in rows[2].mend


def test_devices_that_are_not_ours_and_who_has_them(nano: Path) -> None:
    rows = targets.rows(site(backend="tensorrt"), probe(nano, refused=("dev/nvmap", "dev/nvgpu/igpu0/ctrl")))
    (row,) = [row for row in rows if not row.good]
    group = (nano / "dev/nvmap").group()
    assert row.found == f"not allowed: /dev/nvmap (group {group}), /dev/nvgpu/igpu0/ctrl (group {group})"
    assert "usermod -aG video,render" in row.mend


def test_devices_that_are_not_there(nano: Path) -> None:
    (nano / "dev/nvmap").unlink()
    (row,) = [row for row in targets.rows(site(backend="tensorrt"), probe(nano)) if not row.good]
    assert row.found == "no /dev/nvmap"


def test_a_pc_with_a_gpu(tmp_path: Path) -> None:
    machine(tmp_path, "x86-cuda")
    lacking = probe(tmp_path, missing=("cudaconvertscale", "libcuda.so.1"))
    rows = targets.rows(site(profile="x86-cuda"), lacking)
    assert [row.found for row in rows if not row.good] == ["missing: cudaconvertscale", "missing: libcuda.so.1"]
    assert "nvidia-driver" in rows[2].mend
    assert all(row.good for row in targets.rows(site(), lacking))
    assert all(row.good for row in targets.rows(site(profile="x86-cuda"), probe(tmp_path)))


def test_without_gstreamer_all_elements_are_missing(nano: Path) -> None:
    def none(names: Any) -> Any:
        raise CaptureError("no GStreamer")

    rows = targets.rows(site(backend="tensorrt"), probe(nano)._replace(missing_elements=none))
    assert rows[1].found == "missing: nvvidconv, v4l2src"


def test_the_real_probe(tmp_path: Path) -> None:
    """Asked of this very machine."""
    here = Probe()
    assert here.loads("libc.so.6")
    assert not here.loads("libnvbufsurface-that-is-not.so")
    assert here.importable("json")
    assert not here.importable("nothing_of_this_name.bindings")
    assert here.missing_elements(["fakesink", "nvvidconv2"]) == ["nvvidconv2"]
    assert here.ours(tmp_path)
    assert not here.ours(tmp_path / "none")
    assert "tensorrt" not in sys.modules


def test_profiles_and_backends_are_those_that_exist() -> None:
    known = {profile.name for profile in profiles.all_profiles()}
    backends = set(config.part_names("edge.infer"))
    assert {profile for target in targets.TARGETS.values() for profile in target.profiles} <= known
    assert set(targets.GPU_INFER["backend"]) <= backends


def test_tensorrt_on_a_pc_is_for_that_pc(tmp_path: Path) -> None:
    machine(tmp_path, "x86-cuda")
    assert targets.rows(site(backend="tensorrt"), probe(tmp_path))[0] == Row("target", True, "an NVIDIA GPU is here")
