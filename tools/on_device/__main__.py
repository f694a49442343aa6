"""The command: each check in a process of its own, a line for each, a report at the end."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from edge import board
from edge.errors import EdgeError
from tools.on_device import ORDER, ROOT, Context, NotHereError, Options, Result, failed, report
from tools.on_device.report import Entry

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")  # a service has none; only a check that shows something keeps them


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools/on_device.sh", description="What only a Jetson can prove.")
    parser.add_argument("--soak-minutes", type=float, default=10.0, metavar="N", help="of the last check (default 10)")
    parser.add_argument(
        "--loop", default="", metavar="DEVICE", help="capture device that this box's own HDMI goes into"
    )
    parser.add_argument("--model", default="", metavar="DIR", help="released model (default: the pipeline's)")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=list(ORDER), metavar="CHECK", help=", ".join(ORDER))
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where the report goes (default: here)")
    parser.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)  # of the board's own files
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)  # one check, in the folder --out
    given = parser.parse_args(arguments)
    options = Options(soak_minutes=given.soak_minutes, loop=given.loop, model=given.model)
    if given.child:
        return _child(given.child, Context(given.out, options, board.open(given.root).read(), given.root))
    return _all(given.only, options, given.out, given.root)


def _all(names: list[str], options: Options, out: Path, root: Path) -> int:
    """Every check in turn. 0: all passed."""
    now = datetime.now(timezone.utc)
    folder = out.resolve() / now.strftime("endoedge-on-device-%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    reading = board.open(root).read()
    print(f"{reading.model or reading.kind}, release {reading.release}; the report goes to {folder}")
    entries = []
    for name in (name for name in ORDER if name in names):
        entry = _one(name, options, folder, root)
        entries.append(entry)
        print(f"{entry.result.outcome:>8}  {name}: {entry.result.said}", flush=True)
    archive = report.write(folder, reading, entries, now)
    good = sum(entry.result.outcome == "passed" for entry in entries)
    print(f"{good} of {len(entries)} passed. Please send back {archive}: it holds test patterns and figures alone.")
    return 0 if good == len(entries) else 1


def _one(name: str, options: Options, folder: Path, root: Path) -> Entry:
    """One check as a child; whatever becomes of it is a result."""
    check = importlib.import_module(f"tools.on_device.checks.{name}")
    limit_s = check.LIMIT_S + options.soak_minutes * 60 * (name == "soak")
    command = [sys.executable, "-m", "tools.on_device", "--child", name, "--out", str(folder), "--root", str(root)]
    command += ["--soak-minutes", str(options.soak_minutes), "--loop", options.loop, "--model", options.model]
    screen = getattr(check, "NEEDS_SCREEN", False)
    environment = {key: value for key, value in os.environ.items() if screen or key not in SCREENS}
    begun = time.monotonic()
    with (folder / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=ROOT, start_new_session=True)
        try:
            fate = _fate(child.wait(limit_s))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            fate = f"was still at it after {limit_s:.0f} s"
    result = report.read(folder / f"{name}.json") or failed(f"{fate}; see {name}.log")
    return Entry(name=name, title=check.TITLE, seconds=round(time.monotonic() - begun, 1), result=result)


def _fate(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code} and no result"


def _child(name: str, context: Context) -> int:
    """Run one check here and leave its result in the folder."""
    check = importlib.import_module(f"tools.on_device.checks.{name}")
    try:
        result: Result = check.run(context)
    except NotHereError as exc:
        result = Result(outcome="not here", said=str(exc))
    except (EdgeError, OSError, ImportError) as exc:
        traceback.print_exc()
        result = failed(str(exc))
    (context.folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
