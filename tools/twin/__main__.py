"""The twin: a virtual box with a real HDMI driver (Linux's vivid), and scenarios of what happens to its cable."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.errors import EdgeError
from tools.twin import checkout, image, machine, needs, ota, report, scenarios, session
from tools.twin.image import ROOT, Image
from tools.twin.session import Result, Session
from tools.twin.words import Began, Ended, Runs, Step, Up, Word

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """0 all held, 1 something did not, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except EdgeError as exc:
        console.print(f"[red]error:[/red] {exc}")
        return exc.exit_code
    except KeyboardInterrupt:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/twin.sh", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="the machine's disk, from Debian's packages (once; about 2 GB, root)")
    build.set_defaults(run=_build)
    playing = argparse.ArgumentParser(add_help=False)
    playing.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="evidence goes there (default: runs/twin-TIME); ota: what held there before is not played again",
    )
    booting = argparse.ArgumentParser(add_help=False)
    booting.add_argument("--kvm", action="store_true", help="the host's processor instead of an emulated one")
    updating = argparse.ArgumentParser(add_help=False)
    updating.add_argument("--times", type=int, default=30, metavar="N", help="ota_killed: power cuts (%(default)s)")
    updating.add_argument("--seed", type=int, default=1, metavar="N", help="ota_killed: of their moments (%(default)s)")
    updating.add_argument("--release", type=Path, metavar="FILE.img", help="ota_http: also to this one, a whole one")
    run = commands.add_parser("run", parents=[playing, booting, updating], help="scenarios by name")
    run.add_argument("scenario", nargs="+", help=f"one of: {', '.join(scenarios.every())}")
    run.set_defaults(run=_run)
    test = commands.add_parser("test", parents=[playing, booting], help="all scenarios, and a table of results")
    test.add_argument("--report", type=Path, metavar="FILE", help="write them down: docs/twin.md")
    test.set_defaults(run=_test)
    updates = commands.add_parser("ota", parents=[playing, booting, updating], help="all scenarios of updates")
    updates.add_argument("--report", type=Path, metavar="FILE", help="write them down: docs/twin-ota.md")
    updates.set_defaults(run=_ota)
    shell = commands.add_parser("shell", parents=[booting], help="a root shell on the twin's console")
    shell.set_defaults(run=_shell)
    return parser


def _build(options: argparse.Namespace) -> int:  # noqa: ARG001
    log = Path(tempfile.gettempdir()) / "endoedge-twin-build.log"
    log.unlink(missing_ok=True)
    began = time.monotonic()
    console.print(f"building the twin; every word of it is in {log}")
    built = image.build(console, log)
    size = sum(path.stat().st_blocks * 512 for path in built.folder.iterdir()) / 2**30
    console.print(f"built in {time.monotonic() - began:.0f} s: {built.folder}, {size:.1f} GiB")
    return 0


def _run(options: argparse.Namespace) -> int:
    return _finish(_play(options, list(dict.fromkeys(options.scenario))))


def _test(options: argparse.Namespace) -> int:
    return _reported(options, scenarios.names(), report.page)


def _ota(options: argparse.Namespace) -> int:
    return _reported(options, scenarios.updating(), report.ota_page)


def _reported(options: argparse.Namespace, names: list[str], page: Callable[[Session, bool], str]) -> int:
    played = _play(options, names)
    if options.report:
        options.report.write_text(page(played, not options.kvm), encoding="utf-8")
        console.print(f"written: {options.report}")
    return _finish(played)


def _shell(options: argparse.Namespace) -> int:
    built = _built()
    console.print("the console follows; `poweroff` or Ctrl-A X ends it")
    with tempfile.TemporaryDirectory(prefix="twin-disk-") as scratch:
        disk = Path(scratch) / "checkout.img"
        checkout.write_disk(disk)
        return machine.interactive(built, disk, options.kvm)


def _built(wanted: dict[str, str] = needs.RUN) -> Image:
    needs.ensure(wanted, console, Path(tempfile.gettempdir()) / "endoedge-twin-build.log")
    found = image.find()
    if found is None:
        raise EdgeError("the twin is not built yet, or what it is made from has changed: tools/twin.sh build")
    return found


def _play(options: argparse.Namespace, names: list[str]) -> Session:
    wanted = [scenarios.load(name) for name in names]
    updating = [one for one in wanted if one.updates]
    built = _built(needs.UPDATES if updating else needs.RUN)
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    folder = (options.results or ROOT / "runs" / f"twin-{stamp}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"evidence: {folder}")
    console.print("booting (an emulated machine takes a minute or two)")
    others = [one for one in wanted if not one.updates]
    played = session.play(built, others, folder, _show, options.kvm)  # none: nothing is booted
    if updating:
        how = ota.How(kvm=options.kvm, times=options.times, seed=options.seed, whole=options.release)
        played = session.joined(played, ota.play(built, updating, folder, _show, how))
    return played


def _show(word: Word) -> None:
    """As it happens."""
    if isinstance(word, Up):
        console.print(f"the machine is up: Linux {word.kernel}, {word.uptime_s:.0f} s of its own time")
    elif isinstance(word, Began):
        console.print(f"[bold]{word.scenario}[/bold]")
    elif isinstance(word, Step):
        console.print(f"  {word.at_s:7.2f} s  {word.text}", markup=False)
    elif isinstance(word, Runs):
        runs = f"{word.version} runs" if word.version else "nothing runs"
        update = f"update: {word.state or '-'} {word.offered} {' '.join(word.waits)}"
        console.print(f"             {runs} from {word.booted or '-'}; {update}", markup=False)
    elif isinstance(word, Ended):
        console.print(f"  {_verdict(word.problem)} in {word.seconds:.0f} s  {word.problem}")


def _verdict(problem: str) -> str:
    return "[red]FAIL[/red]" if problem else "[green]PASS[/green]"


def _finish(played: Session) -> int:
    table = Table("scenario", "", "s", "measured", box=None)
    for one in played.results:
        table.add_row(one.scenario, _verdict(one.problem), f"{one.seconds:.0f}", one.problem or _measured(one))
    good = sum(not one.problem for one in played.results)
    console.print(table)
    console.print(f"{good} of {len(played.results)} held (boots: {played.boots})")
    return 0 if good == len(played.results) else 1


def _measured(one: Result) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in one.measured.items())


if __name__ == "__main__":
    sys.exit(main())
