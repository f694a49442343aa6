"""endoedge-model: makes and proves EndoEdge's models. One file per command: `arguments(parser)` and `run(options)`.

A command's name is its file's, with dashes. Exit codes: 0 fine, 1 something is wrong with data or model, 2 usage.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

from edge.errors import EdgeError

NOT_COMMANDS = ("shared",)


def command_names() -> tuple[str, ...]:
    """The commands there are: the files of this folder."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NOT_COMMANDS))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. An EdgeError is one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="endoedge-model", description="Makes and proves EndoEdge's models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in command_names():
        module = importlib.import_module(f"{__name__}.{name}")
        sub = commands.add_parser(name.replace("_", "-"), help=module.run.__doc__)
        module.arguments(sub)
        sub.set_defaults(command=module.run)
    options = parser.parse_args(arguments)
    try:
        return int(options.command(options))
    except EdgeError as exc:
        print(f"endoedge-model: {exc}", file=sys.stderr)
        return exc.exit_code
