"""The commands of the console, as a table. A new one is a function in one of these files and a row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edge.console.commands import access, logs, power, selftest, state, support, updates
from edge.console.commands.desk import Desk
from edge.console.job import Job
from edge.console.tokens import Right


class Command(NamedTuple):
    """`access`: the right that a login must have, None when nobody has to log in; or which, by the command's words."""

    name: str
    usage: str
    help: str
    access: Right | Callable[[list[str]], Right | None] | None
    run: Callable[[Desk, list[str]], Job]

    def needs(self, words: list[str]) -> Right | None:
        return self.access(words) if callable(self.access) else self.access


def _help(desk: Desk, words: list[str]) -> Job:
    del desk, words
    for command in COMMANDS.values():
        needs = f" [{command.access}]" if isinstance(command.access, str) else ""
        yield f"  {command.name + ' ' + command.usage:<22}{command.help}{needs}"
    yield ""
    yield "[right]: after `login` only. ^C ends a command, ^U clears the line."


COMMANDS = {
    command.name: command
    for command in (
        Command("help", "", "this list", None, _help),
        Command("status", "", "the whole box on one page", None, state.status),
        Command("watch", "", "one line a second, until a key is pressed", None, state.watch),
        Command("signal", "", "what comes from the tower", None, state.signal),
        Command("faults", "", "what is wrong now", None, state.faults),
        Command("model", "", "which model runs, and where", None, state.model),
        Command("outbox", "", "messages that wait for the broker", None, state.outbox),
        Command("procedure", "", "what is known of the procedure", None, state.procedure),
        Command("network", "", "interfaces, addresses, route, broker", None, state.network),
        Command("time", "", "clock, and whether it can be believed", None, state.time),
        Command(
            "update", "[...]", "software: status, check [diagnose], install [restart]", updates.right, updates.update
        ),
        Command("login", "[TOKEN]", "get a challenge; answer it with a token", None, access.login),
        Command("logout", "", "end the login", None, access.logout),
        Command("log", "[N]", "newest N lines of the journal (20)", "diagnose", logs.log),
        Command("selftest", "", "endoedge check --deep, on one page", "diagnose", selftest.selftest),
        Command("support", "", "send a support bundle by YMODEM", "diagnose", support.support),
        Command("reset", "core|uplink", "restart one service", "restart", power.reset),
        Command("reboot", "now", "restart the machine", "restart", power.reboot),
    )
}
