"""Starting things anew. systemd does it, and only for the units that it has been told of (edge/console/orders.py)."""

from __future__ import annotations

from edge.console.commands.desk import Desk
from edge.console.job import Job
from edge.console.orders import order, taken
from edge.errors import ConsoleError

SERVICES = {"core": "endoedge-core.service", "uplink": "endoedge-uplink.service"}
REBOOT = "reboot.target"
_WITHIN_S = 200.0  # a core is ready at its first frame; a phantom that has to be rendered first takes longest


def reset(desk: Desk, words: list[str]) -> Job:
    if len(words) != 1 or words[0] not in SERVICES:
        raise ConsoleError(f"reset what? {' or '.join(SERVICES)}; there is no factory reset in this version")
    yield from order(desk.box.orders, SERVICES[words[0]], desk.box.clock, _WITHIN_S)
    yield f"{words[0]} was restarted; see `status`"


def reboot(desk: Desk, words: list[str]) -> Job:
    if words != ["now"]:
        raise ConsoleError("the machine restarts, and a procedure that is running is not watched: type `reboot now`")
    yield from taken(desk.box.orders, REBOOT, desk.box.clock)
    yield "the machine restarts now"
