"""What an integrator makes, signs and publishes releases with. `tools/release.sh COMMAND --help` says more of each.

The way from nothing to boxes that update themselves: keys new, init, build, sign, publish; then `refresh` every day.
Exit codes: 0 done, 1 something failed, 2 the command line is wrong, 3 a root waits for more signatures.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from edge.errors import EdgeError
from tools.release import COMMANDS


def main(argv: Sequence[str] | None = None) -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="tools/release.sh", description=__doc__, formatter_class=formatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = sys.argv[1:] if argv is None else argv
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:  # a cron job has not everything installed
        module = importlib.import_module(f"tools.release.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__, formatter_class=formatter)
        command.set_defaults(main=module.main)
        module.arguments(command)
    options = parser.parse_args(argv)
    try:
        return int(options.main(options))
    except EdgeError as exc:
        print(f"release {options.command}: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
