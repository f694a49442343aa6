"""Starting things anew. systemd does it, and decides whether this user may ask for it (docs/console.md)."""

from __future__ import annotations

from edge.console.commands.desk import Desk
from edge.console.job import Job, child
from edge.errors import ConsoleError

SERVICES = {"core": "endoedge-core.service", "uplink": "endoedge-uplink.service"}
_WITHIN_S = 30.0


def reset(desk: Desk, words: list[str]) -> Job:
    if len(words) != 1 or words[0] not in SERVICES:
        raise ConsoleError(f"reset what? {' or '.join(SERVICES)}; there is no factory reset in this version")
    yield from _ask(desk, "restart", SERVICES[words[0]])
    yield f"{words[0]} was restarted; see `status`"


def reboot(desk: Desk, words: list[str]) -> Job:
    if words != ["now"]:
        raise ConsoleError("the machine restarts, and a procedure that is running is not watched: type `reboot now`")
    yield from _ask(desk, "reboot")
    yield "the machine restarts now"


def _ask(desk: Desk, *words: str) -> Job:
    ended = yield from child([*desk.box.systemctl, *words], desk.box.clock, _WITHIN_S)
    if ended.code:
        raise ConsoleError(f"systemd refused: {ended.last_words}")
