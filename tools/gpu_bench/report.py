"""The figures beside their aims, for people and as JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from edge.types import Struct
from tools.gpu_bench.floor import Floor

P99_MS, OVER_BARE = 1.0, 1.2  # what the design wants of frame → findings at 60 fps
AFTER_UPLOAD = ("host", "h2d", "d2h", "device")  # whole pictures that nobody should move once a frame is up


class Aim(Struct, frozen=True, kw_only=True):
    """`figure` is at most `limit`, or the aim is missed; None: not measured. `must`: the command fails with it."""

    what: str
    figure: float | None
    limit: float
    must: bool

    @property
    def met(self) -> bool:
        return self.figure is not None and self.figure <= self.limit


class Row(Struct, frozen=True, kw_only=True):
    """One number of streams. `each`: what `children.path` measured; empty where `error` says why."""

    streams: int
    each: list[dict[str, Any]] = msgspec.field(default_factory=list)
    error: str = ""

    def worst(self, name: str) -> float | None:
        """The slowest stream's."""
        return max((float(one[name]) for one in self.each), default=None)

    def total(self, *names: str) -> int | None:
        return sum(int(one[name]) for one in self.each for name in names) if self.each else None


class Report(Struct, frozen=True, kw_only=True):
    """All of the JSON but the aims. `no_graph`: why the engine was run without CUDA graphs, or ""."""

    at: str  # wall clock, RFC 3339, UTC
    commit: str
    software: dict[str, str]
    driver: str
    engine: str
    no_graph: str
    model: dict[str, str]
    gpu: dict[str, Any]
    interface: dict[str, dict[str, Any]]
    bare: dict[str, float]
    differences: list[str]
    floor: Floor
    streams: list[Row]


def aims(report: Report) -> list[Aim]:
    """In the order of the table."""
    wrong = sum(seen["n"] - seen.get("same", 0) for seen in report.interface.values())
    copies = [row.total(*AFTER_UPLOAD) for row in report.streams]
    copied = None if not copies or None in copies else sum(count or 0 for count in copies)
    p99 = next((row.worst("p99_ms") for row in report.streams if row.streams == 1), None)
    over = None if p99 is None else p99 / report.bare["p50_ms"]
    return [
        Aim(what="frames read through __cuda_array_interface__ that differ", figure=wrong, limit=0, must=True),
        Aim(what="answers over rotating buffers that differ", figure=len(report.differences), limit=0, must=True),
        Aim(what="whole pictures copied after the upload, all runs", figure=copied, limit=0, must=True),
        Aim(what="frame → findings, one stream, p99 ms", figure=p99, limit=P99_MS, must=False),
        Aim(what="that p99 over the bare engine's p50", figure=over, limit=OVER_BARE, must=False),
    ]


def show(console: Console, report: Report) -> None:
    graph = "with CUDA graphs" if not report.no_graph else f"without CUDA graphs ({report.no_graph})"
    console.print(f"{report.gpu['name']}, driver {report.driver}; {report.engine}, {graph}", highlight=False)
    console.print(_aims(report), _streams(report), _stages(report), _floor(report))
    for row in report.streams:
        if row.error:
            console.print(f"[red]{row.streams} streams: {row.error}[/red]", highlight=False, soft_wrap=True)


def _aims(report: Report) -> Table:
    table = Table("aim", "figure", "at most", "")
    for aim in aims(report):
        figure = "not measured" if aim.figure is None else f"{aim.figure:.4g}"
        table.add_row(aim.what, figure, f"{aim.limit:g}", "[green]met[/green]" if aim.met else "[red]not met[/red]")
    return table


def _streams(report: Report) -> Table:
    table = Table(title="frame → findings; the slowest stream's percentiles")
    for column in ("streams", "fed fps", "p50 ms", "p99 ms", "max ms", "frames", "late", "uploads", "copies after"):
        table.add_column(column, justify="right")
    for row in (row for row in report.streams if row.each):
        times = [f"{row.worst(name):.3f}" for name in ("p50_ms", "p99_ms", "max_ms")]
        counted = [str(row.total(*names)) for names in (("n",), ("dropped",), ("upload",), AFTER_UPLOAD)]
        fed = f"{min(one['fed_fps'] for one in row.each):.1f}"
        table.add_row(str(row.streams), fed, *times, *counted)
    return table


def _stages(report: Report) -> Table:
    """Where one stream's time goes."""
    alone: dict[str, Any] = next(
        (row.each[0] for row in report.streams if row.streams == 1 and row.each), {"stages_ms": {}}
    )
    table = Table("one stream", "p50 ms", "p99 ms")
    for name, (p50, p99) in alone["stages_ms"].items():
        table.add_row(name, f"{p50:.3f}", f"{p99:.3f}")
    return table


def _floor(report: Report) -> Table:
    floor, bare, gpu = report.floor, report.bare, report.gpu
    table = Table("the floor", "ms", "from")
    table.add_row(
        "bare engine, p50 (p99)",
        f"{bare['p50_ms']:.3f} ({bare['p99_ms']:.3f})",
        f"n = {bare['n']:.0f}, answer on the host",
    )
    table.add_row(
        "memory",
        _ms(floor.memory_ms),
        f"{floor.least_bytes / 1e6:.1f} MB once ({floor.unfused_bytes / 1e6:.0f} MB without any fusion),"
        f" {gpu['copy_bytes_s'] / 1e9:.0f} GB/s copied",
    )
    clock = f"{gpu['multiprocessors']} multiprocessors at {gpu['clock_hz'] / 1e6:.0f} MHz"
    table.add_row("arithmetic", _ms(floor.compute_ms), f"{floor.gflop:.2f} GFLOP, {clock}")
    return table


def _ms(bound: float | None) -> str:
    return "unknown" if bound is None else f"{bound:.4f}"
