"""What Jetsons and PCs have in common: the kernel's thermal zones, clocks and fans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge.board.tree import Tree
from edge.types import Zone

TEMPERATURES_C = (-40.0, 150.0)
LIMITS_C = (60.0, 130.0)  # trip points outside of it are placeholders
CLOCKS_MHZ = (0.0, 10_000.0)
FAN_RPM = (0.0, 50_000.0)
OFF = "-256000"  # what older BPMP firmware says of a sensor in a part that is switched off
TRIPS = ("passive", "critical")  # slows down at the first; a zone with none such has only the second


class Limits:
    """Where each thermal zone begins to slow the board down. Trip points do not move, so each is read once."""

    def __init__(self, default_c: float) -> None:
        """`default_c`: of zones that do not say."""
        self._default_c = default_c
        self._known: dict[Path, float] = {}

    def of(self, tree: Tree, zone: Path) -> float:
        if zone not in self._known:
            self._known[zone] = self._read(tree, zone)
        return self._known[zone]

    def _read(self, tree: Tree, zone: Path) -> float:
        found: dict[str, list[float]] = {kind: [] for kind in TRIPS}
        for file in tree.find(f"{zone.relative_to(tree.path(''))}/trip_point_*_type"):
            kind = tree.text(file, wanted=False)
            limit = tree.number(file.with_name(file.name.replace("_type", "_temp")), 1e-3, wanted=False)
            if kind in found and limit is not None and LIMITS_C[0] <= limit <= LIMITS_C[1]:
                found[kind].append(limit)
        return next((min(limits) for limits in found.values() if limits), self._default_c)


def unused(name: str, taken: Mapping[str, object]) -> str:
    """The name, or with a number behind it where another is called so: "acpitz", "acpitz.2"."""
    names = (name, *(f"{name}.{number}" for number in range(2, len(taken) + 2)))
    return next(free for free in names if free not in taken)


def thermal_zones(tree: Tree, limits: Limits) -> dict[str, Zone]:
    """By their type."""
    zones: dict[str, Zone] = {}
    for folder in tree.find("sys/class/thermal/thermal_zone*"):
        name = tree.text(folder / "type")
        if name is None:
            continue
        file = folder / "temp"
        off = tree.text(file) == OFF
        temperature = None if off else tree.number(file, 1e-3, TEMPERATURES_C)
        zones[unused(name, zones)] = Zone(temperature_c=temperature, limit_c=limits.of(tree, folder))
    return zones


def cpu_clocks(tree: Tree) -> dict[str, float | None]:
    """MHz by cpufreq policy: the processors that change their clock together, called by the first of them."""
    return {
        folder.name.replace("policy", "cpu"): tree.number(folder / "scaling_cur_freq", 1e-3, CLOCKS_MHZ)
        for folder in tree.find("sys/devices/system/cpu/cpufreq/policy*")
    }


def fan_rpm(tree: Tree, pattern: str) -> float | None:
    """Of the first fan that says it."""
    speeds = (tree.number(file, within=FAN_RPM) for file in tree.find(pattern))
    return next((speed for speed in speeds if speed is not None), None)


class Counters:
    """Events that the kernel counts since its start: which have grown since the last look."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def grown(self, counts: dict[str, int]) -> set[str]:
        """Nothing at the first look: what happened before is over."""
        grown = {name for name, count in counts.items() if count > self._last.get(name, count)}
        self._last |= counts
        return grown
