"""`endoedge-server box`: which boxes may come in."""

from __future__ import annotations

import argparse
from typing import Any

from server import enrolment
from server.cli.means import opened, operator


def add(commands: Any) -> None:
    parser = commands.add_parser("box", help="boxes: codes to enrol with, list, revoke")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    code = actions.add_parser("code", help="a code, good once, for `endoedge enrol` on that box")
    code.add_argument("device", metavar="DEVICE", help="as the box's endoedge.toml has it")
    code.add_argument("--hours", type=float, default=24.0, metavar="N", help="how long it is good; default: 24")
    revoke = actions.add_parser("revoke", help="what it was given is good no longer")
    revoke.add_argument("device", metavar="DEVICE")
    actions.add_parser("list", help="all of them")
    for name, action in actions.choices.items():
        action.set_defaults(run=run, action=name)


def run(options: argparse.Namespace) -> int:
    with opened(options) as means:
        if options.action == "code":
            print(enrolment.make_code(means.database, options.device, operator(), options.hours))
        elif options.action == "revoke":
            enrolment.revoke(means.database, options.device, by=operator())
            print(f"box {options.device}: revoked")
        else:
            for box in enrolment.boxes(means.database):
                print(_line(box))
    return 0


def _line(box: enrolment.Box) -> str:
    state = f"revoked {box.revoked_at}" if box.revoked_at else f"seen {box.seen_at}" if box.seen_at else "never seen"
    how = f"certificate {box.certificate[:16]}" if box.certificate else "" if box.revoked_at else "token"
    return "  ".join(part for part in (box.device, state, how, box.software) if part)
