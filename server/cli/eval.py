"""`endoedge-server eval`: how good drafts are, and how well the check keeps them so."""

from __future__ import annotations

import argparse
from typing import Any

from server import evaluation


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "eval",
        help="how good drafts are",
        description=evaluation.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluation.add_options(parser)
    parser.set_defaults(run=evaluation.run)
