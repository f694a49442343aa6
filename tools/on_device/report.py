"""The report: what each check found, on what machine, with what software; one folder, and the same as a tar.gz."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import tarfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from edge import __version__
from edge.types import BoardReading, Struct
from tools.on_device import ROOT, Result

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "cuda-bindings", "cuda-python", "PyGObject")
FORMAT = 1


class Entry(Struct, frozen=True, kw_only=True):
    name: str
    title: str
    seconds: float
    result: Result


class Report(Struct, frozen=True, kw_only=True):
    """`report.json`."""

    format: int
    at: str  # wall clock, RFC 3339, UTC
    version: str
    commit: str
    software: dict[str, str]
    board: BoardReading
    checks: list[Entry]


def write(folder: Path, reading: BoardReading, entries: Sequence[Entry], at: datetime) -> Path:
    """`report.json` and `report.md` into the folder, and all of it into the archive beside it, which is returned."""
    whole = Report(
        format=FORMAT,
        at=at.isoformat(timespec="seconds"),
        version=__version__,
        commit=commit(),
        software=software(),
        board=reading,
        checks=list(entries),
    )
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(whole)))
    (folder / "report.md").write_text(page(whole), encoding="utf-8")
    archive = folder.with_name(folder.name + ".tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return archive


def read(file: Path) -> Result | None:
    """What a check left; None when it left nothing whole."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Result)
    except (OSError, msgspec.DecodeError):
        return None


def page(whole: Report) -> str:
    """For people."""
    lines = [f"# EndoEdge {whole.version} on {whole.board.model or whole.board.kind}", ""]
    lines += [f"{whole.at}, commit {whole.commit}, release {whole.board.release}, mode {whole.board.power_mode}.", ""]
    lines += [", ".join(f"{name} {version}" for name, version in whole.software.items()), ""]
    lines += ["| check | outcome | said | figures | seconds |", "|---|---|---|---|---|"]
    for entry in whole.checks:
        figures = "; ".join(f"{name} {_short(value)}" for name, value in entry.result.figures.items())
        said = entry.result.said.replace("|", "\\|").replace("\n", " ")
        lines.append(
            f"| {entry.title} (`{entry.name}`) | {entry.result.outcome} | {said} | {figures} | {entry.seconds} |"
        )
    return "\n".join(lines) + "\n"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def software() -> dict[str, str]:
    """Name → version, "none" for what is not installed."""
    found = {"Python": platform.python_version(), "kernel": platform.release(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def commit() -> str:
    """Of this checkout."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() or "unknown"
