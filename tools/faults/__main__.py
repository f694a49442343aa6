"""What happens to a box, done to it on purpose: "N of N recovered" for each row, and docs/faults.md."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from edge.errors import EdgeError
from tools.faults import ROOT, kept, report, rows, session
from tools.faults.rows import Row
from tools.faults.session import Heard, Result

APART = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# As on a machine with systemd: what we unmount is gone for those, too, who have a copy of our mounts (tools/ota).
_SHARED = ("sh", "-c", 'mount --make-rshared / && exec "$@"', "sh")
_IS_APART = "ENDOEDGE_FAULTS_APART"

console = Console(highlight=False, soft_wrap=True, markup=False)


def main(arguments: list[str] | None = None) -> int:
    """0 all N of N, 1 something was not, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        wanted = [rows.load(name) for name in rows.meant(options.row)]
        if options.list:
            return _list(wanted)
        return _play(wanted, options)
    except EdgeError as exc:
        console.print(f"error: {exc}")
        return exc.exit_code
    except KeyboardInterrupt:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/faults.sh", description=__doc__)
    parser.add_argument(
        "row", nargs="*", metavar="ROW", help=f"all, or some of: {', '.join(rows.names())}; {_groups()}"
    )
    parser.add_argument("--times", type=_count, metavar="N", help="rounds of each row (default: its own)")
    parser.add_argument(
        "--control", type=_count, default=session.CONTROL_TIMES, metavar="N", help="rounds with a careless product"
    )
    parser.add_argument("--seed", type=int, help="the dice's (default: a new one)")
    parser.add_argument(
        "--jobs", type=_count, default=1, metavar="N", help="rows that are played at once (%(default)s)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="kept there; what held there before (same --seed) is not played again",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="default: docs/faults.md after a full run")
    parser.add_argument("--list", action="store_true", help="say what there is, and whether it can run here")
    return parser


def _groups() -> str:
    return ", ".join(f"{word}: those that begin with {begin}" for word, begin in rows.GROUPS.items())


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _list(wanted: list[Row]) -> int:
    for row in wanted:
        why = row.missing()
        console.print(f"{row.name}: {row.title} ({row.times} times){f'; not here: {why}' if why else ''}")
    return 0


def _play(wanted: list[Row], options: argparse.Namespace) -> int:
    if options.results:
        options.results.mkdir(parents=True, exist_ok=True)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1, 1_000_000)
    results = _results(wanted, options, seed)
    full = not options.row and not options.times
    if file := options.report or (ROOT / "docs" / "faults.md" if full else None):
        file.write_text(report.page(results, seed), encoding="utf-8")
        console.print(f"written: {file}")
    failed = [result.row.name for result in results if not result.held and not result.skipped]
    played = sum(not result.skipped for result in results)
    also = f"; not: {', '.join(failed)}" if failed else ""
    console.print(f"{played - len(failed)} of {played} rows held, {len(results) - played} skipped{also}")
    return 1 if failed else 0


def _results(wanted: list[Row], options: argparse.Namespace, seed: int) -> list[Result]:
    """In the order of `wanted`, told as they come. Rows at once are a process each."""
    if options.jobs == 1:
        return [_one(options, seed, row) for row in wanted]
    results: dict[str, Result] = {}
    with multiprocessing.Pool(options.jobs) as pool:  # ends its processes when we are interrupted
        for result in pool.imap_unordered(partial(_beside, options, seed), wanted):
            _tell(result)
            results[result.row.name] = result
    return [results[row.name] for row in wanted]


def _beside(options: argparse.Namespace, seed: int, row: Row) -> Result:
    try:
        return _played(options, seed, row, _heard)
    except KeyboardInterrupt:
        sys.exit(1)  # who interrupted us needs no traceback


def _played(options: argparse.Namespace, seed: int, row: Row, heard: Heard) -> Result:
    times, folder = options.times or row.times, options.results
    if folder is None:
        return session.play(row, times, seed, heard, options.control)
    found = kept.find(folder, row, times, seed)
    if found is None:
        found = session.play(row, times, seed, heard, options.control)
        kept.save(folder, found)
    return found


def _heard(name: str, done: int, said: str) -> None:
    if said:
        console.print(f"  {name}, round {done}: {said}")


def _one(options: argparse.Namespace, seed: int, row: Row) -> Result:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(row.title, total=options.times or row.times)

        def heard(_name: str, done: int, said: str) -> None:
            progress.update(task, completed=done)
            if said:
                progress.console.print(f"  round {done}: {said}")

        result = _played(options, seed, row, heard)
    _tell(result)
    return result


def _tell(result: Result) -> None:
    console.print(str(result))
    if result.kept:
        console.print(f"  {result.problems[-1]}\n  kept: {result.kept}")


def apart() -> int | None:
    """As root: all of it in mounts and processes of our own, and its exit code. Nobody else's copy of our mounts keeps
    a disk busy then, and nothing is left mounted or running, whatever becomes of us. None: not here."""
    if (
        os.geteuid()
        or _IS_APART in os.environ
        or subprocess.run([*APART, *_SHARED, "true"], capture_output=True).returncode
    ):
        return None
    command = [*APART, *_SHARED, sys.executable, "-m", "tools.faults", *sys.argv[1:]]
    with subprocess.Popen(command, env={**os.environ, _IS_APART: "1"}) as unshare:

        def pass_on(number: int, _frame: object) -> None:  # unshare itself hears nothing
            for child in Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split():
                os.kill(int(child), number)

        signal.signal(signal.SIGTERM, pass_on)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches all of us
        return unshare.wait()


if __name__ == "__main__":
    code = apart()
    if code is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)  # rows clean up after themselves, also then
        code = main()
    sys.exit(code)
