"""What only a Jetson can prove: `tools/on_device.sh`, or `python -m tools.on_device`.

One file a check in `checks/`, each with `TITLE`, `LIMIT_S` and `run(context) -> Result`. Every check runs in a process
of its own: a vendor's library that crashes, or hangs, costs its own check and no other.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import msgspec

from edge import model, paths
from edge.cli import assemble
from edge.errors import EdgeError
from edge.types import BoardReading, Model, Precision, Struct

ROOT = Path(__file__).parents[2]
ORDER = ("thermals", "install", "egl", "nvmm", "vic_sync", "engine", "graphs", "latency", "soak")

Outcome = Literal["passed", "failed", "not here"]


class NotHereError(EdgeError):
    """This machine, or the way it is connected, cannot show what the check is about."""


class Result(Struct, frozen=True, kw_only=True):
    """What a check found. `said`: one sentence for people. `figures`: what it measured, by name."""

    outcome: Outcome
    said: str
    figures: dict[str, Any] = msgspec.field(default_factory=dict)


def passed(said: str, **figures: Any) -> Result:
    return Result(outcome="passed", said=said, figures=figures)


def failed(said: str, **figures: Any) -> Result:
    return Result(outcome="failed", said=said, figures=figures)


class Options(Struct, frozen=True, kw_only=True):
    """What the caller wants."""

    soak_minutes: float = 10.0
    loop: str = ""  # the capture device into which this box's own HDMI output is looped
    model: str = ""  # a released model's folder; default: the one that the colonoscopy pipeline names


class Done(NamedTuple):
    """A command that ended."""

    code: int
    output: str


class Context(NamedTuple):
    """What a check works with. `folder`: the report's; a check leaves its longer findings there."""

    folder: Path
    options: Options
    reading: BoardReading
    root: Path = Path("/")

    def need_jetson(self, what: str) -> None:
        """`what` the check is about, and only a Jetson has. Raises NotHereError on anything else."""
        if self.reading.kind != "jetson":
            self.lacks(what, "not a Jetson")

    def lacks(self, what: str, why: str) -> NoReturn:
        raise NotHereError(f"needs {what}: {why}")

    def endoedge(self, *arguments: str, log: str, limit_s: float) -> Done:
        """Run one of our commands; its output also goes to `log` in the report. A code of -1: it ran too long."""
        return self.command([sys.executable, "-m", "edge.cli", *arguments], log=log, limit_s=limit_s)

    def command(self, command: list[str], log: str, limit_s: float) -> Done:
        if shutil.which(command[0]) is None:
            self.lacks(command[0], "it is not installed")
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s, check=False, cwd=ROOT
            )
            code, output = done.returncode, done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as exc:
            code, output = -1, (exc.stdout or b"").decode(errors="replace")
        (self.folder / log).write_text(output, encoding="utf-8")
        return Done(code, output)


def released(context: Context, precision: Precision) -> Model:
    """The model that the checks run: the caller's, or the colonoscopy pipeline's. Raises ModelError, ConfigError."""
    if context.options.model:
        return model.load(Path(context.options.model), precision)
    pipeline, _ = assemble.load_pipeline(paths.data_dir("pipelines") / "colonoscopy.toml")
    return model.load(paths.data_dir("models") / pipeline.model, precision)
