"""The command line: `endoedge run | check | bench | replay | demo | display | model | console | enrol |
update`.

Every command prints for people (rich) or, with `--json`, one JSON object on the last line for machines. Exit codes:
0 fine, 1 something failed, 2 the command line or a configuration is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from edge import __version__, release, systemd
from edge.errors import EdgeError

COMMANDS = (
    "run",
    "check",
    "bench",
    "replay",
    "demo",
    "display",
    "model",
    "console",
    "enrol",
    "update",
)  # each: a file with HELP, arguments() and main()
SERVICES = ("run", "console")  # what they log is for the journal


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run one command, return its exit code. EdgeErrors become one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="endoedge",
        description="Watches an endoscopy tower's picture and raises alerts over MQTT. Not a medical device.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in _asked_for(argv):
        module = importlib.import_module(f"edge.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        command.add_argument("-v", "--verbose", action="store_true", help="log what each part does")
        command.set_defaults(main=module.main)
        module.arguments(command)
    options = parser.parse_args(argv)
    _log_to_stderr(
        logging.DEBUG if options.verbose else logging.INFO if options.command in SERVICES else logging.WARNING
    )
    try:
        return int(options.main(options))
    except EdgeError as exc:
        print(f"endoedge {options.command}: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130


def _version() -> str:
    of = release.version()
    return f"endoedge {__version__}" if of == __version__ else f"endoedge {__version__}, release {of}"


def _asked_for(argv: Sequence[str] | None) -> Sequence[str]:
    """A command that is named first needs no other's imports: a console has no use for GStreamer."""
    words = sys.argv[1:] if argv is None else argv
    return words[:1] if words and words[0] in COMMANDS else COMMANDS


def _log_to_stderr(level: int) -> None:
    """Pretty on a terminal, with their fields in the journal, one plain line a record in a pipe."""
    handler = _pretty() if sys.stderr.isatty() else systemd.journal()
    if handler is not None:
        logging.basicConfig(level=level, handlers=[handler], format="%(message)s", force=True)
    else:
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", force=True)


def _pretty() -> logging.Handler:
    """Imported here, for a service has no terminal and no memory for one."""
    from rich.console import Console
    from rich.logging import RichHandler

    return RichHandler(console=Console(stderr=True), show_path=False)
