"""Coming in and going out."""

from __future__ import annotations

from edge.console.commands.desk import Desk
from edge.console.job import Job
from edge.console.text import pairs


def login(desk: Desk, words: list[str]) -> Job:
    """Without a token: the challenge. With one: the answer."""
    if words:
        here = desk.gate.admit("".join(words))  # a token that a terminal has broken into pieces is still one
        left_min = (here.until_ns - desk.box.clock.now_ns()) / 60e9
        yield f"welcome, {here.name}: {', '.join(here.rights) or 'no rights'}, {left_min:.0f} min at most"
        if head := desk.audit.head:
            yield f"audit log: {head.seq} lines, head {head.digest}"
        return
    challenge = desk.gate.challenge()
    left_s = (challenge.until_ns - desk.box.clock.now_ns()) / 1e9
    yield from pairs(("device", desk.box.device), ("nonce", challenge.nonce), ("valid for", f"{left_s:.0f} s"))
    yield "have it signed, then: login TOKEN"


def logout(desk: Desk, words: list[str]) -> Job:
    del words
    yield f"good-bye, {desk.gate.login.name}" if desk.gate.login else "nobody was logged in"
    desk.gate.end()
