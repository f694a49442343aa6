"""A PC, from its own files: coretemp or k10temp, RAPL where it may be read (most kernels let only root), cpufreq.

An NVIDIA card says nothing here: its driver has no such files.
"""

from __future__ import annotations

import time
from pathlib import Path

from edge.board import sensors
from edge.board.sensors import LIMITS_C, TEMPERATURES_C, Counters, Limits
from edge.board.tree import COUNT, Tree
from edge.types import BoardReading, Zone

kind = "pc"

THROTTLING_C = 95.0  # for sensors without a limit of their own: what most processors are built for
CHIPS = ("coretemp", "k10temp")
WHOLE = ("Package", "Tctl", "Tdie")  # how labels of whole processors begin; cores and chiplets are left out
POWER_W = (0.0, 2000.0)


def open(root: Path) -> Pc:
    return Pc(root)


class Pc:
    """See `edge.board.Board`."""

    kind = kind

    def __init__(self, root: Path) -> None:
        self._root = root
        self._limits = Limits(THROTTLING_C)
        self._counters = Counters()
        self._energy: dict[str, tuple[int, float]] = {}  # rail → when, in ns, and the energy then, in uJ

    def read(self) -> BoardReading:
        tree = Tree(self._root)
        events = _throttle_events(tree)
        return BoardReading(
            kind=kind,
            model=tree.text(tree.path("sys/class/dmi/id/product_name"), wanted=False),
            release=tree.text(tree.path("proc/sys/kernel/osrelease"), wanted=False),
            power_mode=_power_mode(tree),
            zones=_processors(tree) or sensors.thermal_zones(tree, self._limits),
            power_w=self._power(tree, time.monotonic_ns()),
            clocks_mhz=sensors.cpu_clocks(tree),
            fan_rpm=sensors.fan_rpm(tree, "sys/class/hwmon/hwmon*/fan1_input"),
            throttled=tuple(sorted(self._counters.grown(events))),
            throttle_events=events,
            problems=tree.problems,
            read_ns=time.monotonic_ns(),
        )

    def _power(self, tree: Tree, now_ns: int) -> dict[str, float | None]:
        """Watts since the last reading, from RAPL's counters of energy; none at the first, nor where they wrapped."""
        power: dict[str, float | None] = {}
        for folder in tree.find("sys/class/powercap/intel-rapl:?"):
            name = tree.text(folder / "name")
            energy = tree.number(folder / "energy_uj", within=COUNT)
            if name is None:
                continue
            power[name] = None
            if energy is None:
                continue
            before_ns, before = self._energy.get(name, (now_ns, energy))
            self._energy[name] = (now_ns, energy)
            if now_ns > before_ns and energy >= before:
                watts = (energy - before) * 1e3 / (now_ns - before_ns)
                power[name] = round(watts, 3) if POWER_W[0] <= watts <= POWER_W[1] else None
        return power


def _processors(tree: Tree) -> dict[str, Zone]:
    """Whole processors by chip and label; every sensor of a chip that labels none so."""
    zones: dict[str, Zone] = {}
    for folder in tree.hwmon(*CHIPS):
        labels = {file: tree.text(file, wanted=False) or "" for file in tree.find(_inside(tree, folder))}
        whole = [file for file, label in labels.items() if label.startswith(WHOLE)]
        for file in whole or labels:
            sensor = file.name.removesuffix("_label")
            limits = (tree.number(folder / f"{sensor}_{end}", 1e-3, wanted=False) for end in ("max", "crit"))
            limit = next((c for c in limits if c is not None and LIMITS_C[0] <= c <= LIMITS_C[1]), THROTTLING_C)
            temperature = tree.number(folder / f"{sensor}_input", 1e-3, TEMPERATURES_C)
            zones[sensors.unused(labels[file] or sensor, zones)] = Zone(temperature_c=temperature, limit_c=limit)
    return zones


def _inside(tree: Tree, folder: Path) -> str:
    return f"{folder.relative_to(tree.path(''))}/temp*_label"


def _power_mode(tree: Tree) -> str | None:
    """The firmware's profile, or how the first processor's clock is governed."""
    places = ("sys/firmware/acpi/platform_profile", "sys/devices/system/cpu/cpufreq/policy0/scaling_governor")
    said = (tree.text(tree.path(place), wanted=False) for place in places)
    return next((mode for mode in said if mode is not None), None)


def _throttle_events(tree: Tree) -> dict[str, int]:
    """How often a processor slowed down because it was hot, since the start. All of a package count the same."""
    counts = [
        tree.number(file, within=COUNT)
        for file in tree.find("sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count")
    ]
    known = [int(count) for count in counts if count is not None]
    return {"cpu": max(known)} if known else {}
