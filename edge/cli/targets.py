"""What this machine is (jetson-orin, x86-cuda, cpu), and what it lacks to be used as that: rows of `endoedge check`.

A target is a capture profile and a backend that reads its memory. What is missing is a fault where the configuration
asks for it, and a remark otherwise. Package names are those of the vendors' own packages: for JetPack 6 and 7 NVIDIA's
`nvidia-l4t-*` of releases 36 and 39, for PCs Debian's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from edge import board
from edge.capture import gst
from edge.config import SiteConfig
from edge.console.report import Row
from edge.errors import CaptureError
from edge.memory import mapper
from edge.types import BoardReading

JETSON, X86, CPU = "jetson-orin", "x86-cuda", "cpu"
NVIDIA, DISPLAY = "0x10de", "0x03"  # PCI: vendor, and how the class of a graphics adapter begins


class Need(NamedTuple):
    """What a target needs, and how to get it where the target's generation is `key` of `how`; "" is for all others."""

    name: str
    how: dict[str, str]


class Target(NamedTuple):
    """`devices`: patterns under the root. Those that are `may` need not be there, but must be ours when they are."""

    profiles: tuple[str, ...]  # capture profiles that make a configuration one for this target
    elements: tuple[Need, ...]
    libraries: tuple[Need, ...]
    modules: tuple[Need, ...]
    devices: tuple[str, ...]
    may: tuple[str, ...]


def _apt(packages: str, **other: str) -> dict[str, str]:
    return {"": f"apt install {packages}"} | {key: f"apt install {names}" for key, names in other.items()}


_BINDINGS = {"jp6": "pip install 'endoedge[cuda12]'", "": "pip install 'endoedge[cuda13]'"}
_TENSORRT = {"": "apt install python3-libnvinfer, and a venv made with --system-site-packages"}
_DRIVER = {"": "install NVIDIA's driver: apt install nvidia-driver libcuda1 (Debian), ubuntu-drivers install (Ubuntu)"}
_NVCODEC = "gstreamer1.0-plugins-bad (1.22 or later)"
# 1.22 compiles its kernels for compute capability 5.2, which CUDA 13 no longer knows.
_NVRTC = "with 1.22 also CUDA 12's libnvrtc, named in GST_CUDA_NVRTC_LIBNAME, as CUDA 13's refuses it"
GPU_INFER = {"backend": ("tensorrt",), "provider": ("cuda", "tensorrt")}  # what [infer] says for a GPU of any kind
TARGETS: dict[str, Target] = {
    JETSON: Target(
        profiles=("jetson-orin", "jetson-mapped", "jetson"),
        elements=(
            Need("nvvidconv", _apt("nvidia-l4t-gstreamer")),
            Need("v4l2src", _apt("gstreamer1.0-plugins-good")),
        ),
        libraries=(
            Need("libnvbufsurface.so.1.0.0", _apt("nvidia-l4t-multimedia-utils")),
            Need("libcuda.so.1", _apt("nvidia-l4t-cuda-nvgpu", jp6="nvidia-l4t-cuda")),
            Need("libEGL.so.1", _apt("libegl1 nvidia-l4t-3d-core")),
        ),
        modules=(Need("tensorrt", _TENSORRT), Need("cuda.bindings", _BINDINGS)),
        devices=("dev/nvmap", "dev/nvhost-ctrl-gpu", "dev/nvhost-gpu"),
        may=("dev/nvgpu/*/*", "dev/dri/renderD*", "dev/video*"),
    ),
    X86: Target(
        profiles=("x86-cuda",),
        elements=(
            Need("cudaupload", _apt(_NVCODEC)),
            Need("cudadownload", _apt(_NVCODEC)),
            Need("cudaconvertscale", _apt(f"{_NVCODEC}; {_NVRTC}")),
        ),
        libraries=(
            Need("libcuda.so.1", _DRIVER),
            Need("libgstcuda-1.0.so.0", _apt("libgstreamer-plugins-bad1.0-0")),
        ),
        modules=(Need("cuda.bindings", _BINDINGS),),
        devices=("dev/nvidiactl", "dev/nvidia0"),
        may=("dev/nvidia-uvm", "dev/video*"),
    ),
}


def _ours(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


class Probe(NamedTuple):
    """How the machine is asked."""

    root: Path = Path("/")
    missing_elements: Callable[[Sequence[str]], Sequence[str]] = lambda names: gst.missing_elements(list(names))
    loads: Callable[[str], bool] = mapper.loads
    importable: Callable[[str], bool] = mapper.installed  # importing TensorRT takes seconds
    ours: Callable[[Path], bool] = _ours


def rows(site: SiteConfig, probe: Probe | None = None) -> list[Row]:
    """The target, what it lacks, and how the board is."""
    probe = probe or Probe()
    reading = board.open(probe.root).read()
    here = target_of(probe.root, reading)
    asked = wanted(site, here)
    told = [_target(here, asked, reading)]
    if here in TARGETS:
        told += _lacks(here, asked == here, _generation(reading), probe)
    return [*told, _board(reading)]


def is_jetson(root: Path = Path("/")) -> bool:
    return board.open(root).read().kind == "jetson"


def target_of(root: Path, reading: BoardReading) -> str:
    if reading.kind == "jetson":
        return JETSON
    for vendor in root.glob("sys/bus/pci/devices/*/vendor"):
        if _text(vendor) == NVIDIA and _text(vendor.with_name("class")).startswith(DISPLAY):
            return X86
    return CPU


def wanted(site: SiteConfig, here: str) -> str:
    """The target that a configuration is for. One that wants just any GPU is for the one that is `here`."""
    profile = site.capture.get("profile")
    named = next((name for name, target in TARGETS.items() if profile in target.profiles), None)
    if named is not None:
        return named
    if any(site.infer.get(key) in values for key, values in GPU_INFER.items()):
        return here if here in TARGETS else JETSON
    return CPU


def _target(here: str, asked: str, reading: BoardReading) -> Row:
    if asked not in (here, CPU):
        mend = 'capture.profile = "auto" and infer.backend = "onnx" work on every machine'
        return Row("target", False, f"the configuration is for {asked}, this machine is {here}", mend)
    words = {
        JETSON: f"{reading.model}, Jetson Linux {reading.release}",
        X86: "an NVIDIA GPU is here",
        CPU: "no NVIDIA GPU: the cpu target",
    }[here]
    return Row("target", True, words if asked == here else f"{words}; the configuration uses the cpu target")


def _lacks(here: str, needed: bool, generation: str, probe: Probe) -> list[Row]:
    target = TARGETS[here]
    try:
        elements = probe.missing_elements([need.name for need in target.elements])
    except CaptureError:
        elements = [need.name for need in target.elements]  # no GStreamer at all: its own row says so
    return [
        _row(f"{here}: elements", target.elements, elements, needed, generation),
        _row(
            f"{here}: libraries",
            (*target.libraries, *target.modules),
            [
                *(need.name for need in target.libraries if not probe.loads(need.name)),
                *(need.name for need in target.modules if not probe.importable(need.name)),
            ],
            needed,
            generation,
        ),
        _permissions(here, target, needed, probe),
    ]


def _row(what: str, needs: Sequence[Need], missing: Sequence[str], needed: bool, generation: str) -> Row:
    if not missing:
        return Row(what, True, ", ".join(need.name for need in needs))
    how = [need.how.get(generation, need.how[""]) for need in needs if need.name in missing]
    return Row(what, not needed, f"missing: {', '.join(missing)}", "; ".join(dict.fromkeys(how)))


def _permissions(here: str, target: Target, needed: bool, probe: Probe) -> Row:
    what = f"{here}: permissions"
    absent = [f"/{name}" for name in target.devices if not (probe.root / name).exists()]
    if absent:
        mend = "is this the vendor's own kernel, with its modules loaded? In a container: pass the devices in"
        return Row(what, not needed, f"no {', '.join(absent)}", mend)
    there = [path for pattern in (*target.devices, *target.may) for path in sorted(probe.root.glob(pattern))]
    refused = [path for path in there if not path.is_dir() and not probe.ours(path)]
    if refused:
        names = ", ".join(f"/{path.relative_to(probe.root)} ({_group(path)})" for path in refused)
        mend = "usermod -aG video,render USER, and log in again; as a service: docs/jetson.md, the unit's drop-in"
        return Row(what, not needed, f"not allowed: {names}", mend)
    return Row(what, True, f"{len(there)} devices may be used")


def _board(reading: BoardReading) -> Row:
    """A reading cannot fail a check: what it lacks is null in the status file, too."""
    nearest = reading.nearest()
    room = f"{nearest[0]} is {nearest[1]:.1f} C below its limit" if nearest else "no temperatures are to be had"
    words = [room, f"power mode {reading.power_mode}" if reading.power_mode else ""]
    words += [f"held back: {', '.join(reading.throttled)}" if reading.throttled else ""]
    words += [f"cannot be read: {'; '.join(reading.problems)}" if reading.problems else ""]
    return Row("board", True, ", ".join(filter(None, words)))


def _generation(reading: BoardReading) -> str:
    """ "jp6" for Jetson Linux 36 and before, "jp7" for 38 and later; "" for what is no Jetson."""
    if reading.kind != "jetson":
        return ""
    return "jp6" if int((reading.release or "36").partition(".")[0]) < 38 else "jp7"


def _group(path: Path) -> str:
    try:
        return f"group {path.group()}"
    except KeyError:
        return f"group {path.stat().st_gid}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
