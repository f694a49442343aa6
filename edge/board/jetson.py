"""A Jetson, from its own files: no tegrastats, no root.

Where they are is gathered from the kernel's documentation (hwmon's ina3221, thermal, devfreq) and from logs and recipes
that people published of releases 36 and 39; no device has confirmed it. Names differ between releases, so each value
has a list of places.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from edge.board import sensors
from edge.board.sensors import CLOCKS_MHZ, Counters, Limits
from edge.board.tree import COUNT, Tree
from edge.types import BoardReading

kind = "jetson"

THROTTLING_C = 99.0  # where Orin's software slows down; zones say so by a passive trip point
GPU_LOADS = (
    "sys/devices/platform/gpu.0/load",  # a link that JetPack 5 to 7 make
    "sys/devices/platform/bus@0/17000000.gpu/load",  # JetPack 6 and 7
    "sys/devices/platform/17000000.gpu/load",
    "sys/devices/gpu.0/load",
)
GPU_CLOCKS = (
    "sys/class/devfreq/*.gpu/cur_freq",
    "sys/class/devfreq/*.ga10b/cur_freq",
    "sys/class/devfreq/gpu-gpc-*/cur_freq",
)
ALERT = "-throttle-alert"  # cooling devices that are on while software throttling holds a part back
OVER_CURRENT = {1: "under-voltage", 2: "over-current", 3: "current-peak"}
PEAK = "current-peak"
"""Peaks are cut within microseconds and come many times a second in the highest power modes: counted, but no reason to
do less. The other two hold clocks down for as long as they last."""
RAIL_MV, RAIL_MA = (0.0, 60_000.0), (0.0, 60_000.0)


def is_here(root: Path) -> bool:
    compatible = Tree(root).text(root / "sys/firmware/devicetree/base/compatible", wanted=False)
    return compatible is not None and "nvidia,tegra" in compatible


def open(root: Path) -> Jetson:
    return Jetson(root)


class Jetson:
    """See `edge.board.Board`."""

    kind = kind

    def __init__(self, root: Path) -> None:
        self._root = root
        self._limits = Limits(THROTTLING_C)
        self._counters = Counters()

    def read(self) -> BoardReading:
        tree = Tree(self._root)
        events = _over_current(tree)
        return BoardReading(
            kind=kind,
            model=tree.text(tree.path("sys/firmware/devicetree/base/model")),
            release=_release(tree),
            power_mode=_power_mode(tree),
            zones=sensors.thermal_zones(tree, self._limits),
            power_w=_rails(tree),
            gpu_load=_gpu_load(tree),
            clocks_mhz=sensors.cpu_clocks(tree) | {"gpu": _gpu_clock(tree)},
            fan=_fan(tree),
            fan_rpm=sensors.fan_rpm(tree, "sys/class/hwmon/hwmon*/rpm"),
            throttled=(*_held_back(tree), *sorted(self._counters.grown(events) - {PEAK})),
            throttle_events=events,
            problems=tree.problems,
            read_ns=time.monotonic_ns(),
        )


def _release(tree: Tree) -> str | None:
    """ "36.4.3" of "# R36 (release), REVISION: 4.3, GCID: ..."."""
    text = tree.text(tree.path("etc/nv_tegra_release")) or ""
    found = re.match(r"# R([0-9]+) \(release\), REVISION: ([0-9.]+)", text)
    return f"{found[1]}.{found[2]}" if found else None


def _power_mode(tree: Tree) -> str | None:
    """The mode that nvpmodel was last told, by its name in nvpmodel's own table: numbers differ by module."""
    status = tree.text(tree.path("var/lib/nvpmodel/status"))
    number = re.search(r"pmode:([0-9]+)", status or "")
    if number is None:
        return None
    table = tree.text(tree.path("etc/nvpmodel.conf")) or ""
    for identity, name in re.findall(r"^< *POWER_MODEL +ID=([0-9]+) +NAME=(\S+) *>", table, re.MULTILINE):
        if int(identity) == int(number[1]):
            return str(name)
    return f"mode {int(number[1])}"


def _rails(tree: Tree) -> dict[str, float | None]:
    """Watts by rail, from the ina3221's bus voltage (mV) and current (mA). Rails are those with a label and a current:
    further inputs of the chip are shunt voltages and sums. "NC" is not connected."""
    rails: dict[str, float | None] = {}
    for folder in tree.hwmon("ina3221"):
        for channel in (1, 2, 3):
            label = tree.text(folder / f"in{channel}_label", wanted=False)
            if label is None or label == "NC":
                continue
            voltage = tree.number(folder / f"in{channel}_input", within=RAIL_MV)
            current = tree.number(folder / f"curr{channel}_input", within=RAIL_MA)
            rails[label] = None if voltage is None or current is None else round(voltage * current / 1e6, 3)
    return rails


def _gpu_load(tree: Tree) -> float | None:
    """The kernel says it in thousandths."""
    file = next((file for name in GPU_LOADS for file in tree.find(name)), None)
    return None if file is None else tree.number(file, 1e-3, (0.0, 1.0))


def _gpu_clock(tree: Tree) -> float | None:
    file = next((file for pattern in GPU_CLOCKS for file in tree.find(pattern)), None)
    return None if file is None else tree.number(file, 1e-6, CLOCKS_MHZ)


def _fan(tree: Tree) -> float | None:
    speeds = [tree.number(folder / "pwm1", 1 / 255, (0.0, 1.0)) for folder in tree.hwmon("pwmfan")]
    return round(speeds[0], 3) if speeds and speeds[0] is not None else None


def _held_back(tree: Tree) -> list[str]:
    """Parts that software throttling holds back now: "cpu", "gpu", "soc0"."""
    held = []
    for folder in tree.find("sys/class/thermal/cooling_device*"):
        name = tree.text(folder / "type") or ""
        if name.endswith(ALERT) and tree.number(folder / "cur_state", within=COUNT):
            held.append(name.removesuffix(ALERT))
    return held


def _over_current(tree: Tree) -> dict[str, int]:
    """How often the hardware cut in since the start, by reason."""
    counts: dict[str, int] = {}
    for folder in tree.hwmon("soctherm_oc"):
        for number, name in OVER_CURRENT.items():
            count = tree.number(folder / f"oc{number}_event_cnt", within=COUNT)
            if count is not None:
                counts[name] = int(count)
    return counts
