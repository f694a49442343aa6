"""Software updates. The updater does them; the console shows what it says, and places wishes that it takes.

A wish that nobody has taken is taken back when the command ends; one that was taken is carried out, and ^C ends only
the waiting for it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge import release, updating
from edge.console.box import STALE_S, AnswerView, Box, OfferView, UpdateView
from edge.console.commands.desk import Desk
from edge.console.job import Job, Step, Wait
from edge.console.text import pairs
from edge.console.tokens import Right
from edge.errors import ConsoleError
from edge.updating import Verb

RIGHTS: dict[str, Right] = {
    "check": "diagnose",
    "download": "diagnose",
    "install": "restart",
    "confirm": "restart",
    "rollback": "restart",
}
_VERSION = re.compile(r"[0-9][0-9A-Za-z.!+_-]{0,63}")
USAGE = "[status|check|download|install|confirm|rollback|history] [VERSION] [/FOLDER]"
TAKEN_WITHIN_S = 15.0
_LOOK_S, _FOLLOW_S = 0.2, 1.0  # a status is written once a second
_LINES = 20
_MEASURED = ("downloading", "installing")
_STATES = {
    "idle": "nothing newer is offered",
    "offered": "another version is offered",
    "downloading": "the download goes on",
    "fetched": "downloaded, not installed yet",
    "installing": "is being written to the other slot",
    "installed": "in the other slot, not started yet",
    "switching": "the other slot is being started",
    "trying": "on trial",
    "going_back": "back to the slot before",
}


def right(words: list[str]) -> Right | None:
    return RIGHTS.get(words[0]) if words else None


def update(desk: Desk, words: list[str]) -> Job:
    verb, (version, source) = words[0] if words else "status", _read(words[1:])
    match verb:
        case "status" | "history" | "confirm" | "rollback" if version or source:
            raise ConsoleError(f"update {verb} takes no words")
        case "status":
            yield from _page(desk.box)
        case "history":
            yield from _history(desk.box)
        case "check" if version:
            raise ConsoleError("update check takes a folder at most")
        case "install" if not version:
            yield from _would_install(_needed(desk.box), source)
        case "check" | "download" | "install" | "confirm" | "rollback":
            yield from _wished(desk, verb, version, source)
        case _:
            raise ConsoleError(f"update {USAGE}; a folder is a stick's, such as /media/usb")


# --------------------------------------------------------------------------------------------------- shown


def line(box: Box) -> str:
    """For `status`."""
    said = box.update()
    if isinstance(said, str):
        return "no updater"
    words = [
        f"{said.offer.version}: " if said.offer and said.state != "idle" else "",
        _STATES.get(said.state, said.state),
    ]
    words.append(f", {said.percent}%" if said.state in _MEASURED else "")
    words.append("; TROUBLE, see `faults`" if said.trouble else "")
    return "".join(words)


def faults_of(box: Box) -> Iterator[tuple[str, str]]:
    """A machine without an updater lacks nothing; one whose updater says nothing does."""
    said = box.update()
    if isinstance(said, UpdateView):
        if box.update_age_s(said) > STALE_S:
            yield "update", f"the updater has said nothing for {box.update_age_s(said):.0f} s"
        if said.trouble:
            yield "update", said.trouble


def _page(box: Box) -> Iterator[str]:
    said = box.update()
    if isinstance(said, str):
        yield from pairs(("software", f"endoedge {release.version()}"), ("updater", said))
        return
    stale = box.update_age_s(said) > STALE_S
    checked = f"{said.checked_at}{'' if said.clock_trusted else ', by a clock that nobody vouches for'}"
    yield from pairs(
        ("software", f"endoedge {said.version}, slot {said.slot}, channel {said.channel}"),
        ("updates", ("STALE; then: " if stale else "") + line(box)),
        ("looked", checked if said.checked_at else "never yet"),
    )
    if said.detail:
        yield from pairs(("now", said.detail))
    if said.offer:
        yield from _offer(said.offer)
    for obstacle in said.obstacles:
        yield from pairs(("waits, for" if obstacle.waits else "not, for", obstacle.words))
    if said.trial:
        lacks = f"; lacks: {said.trial.lacks}" if said.trial.lacks else ""
        yield from pairs(("trial", f"well for {said.trial.healthy_s:.0f} of {said.trial.needed_s:.0f} s{lacks}"))
    if said.refused:
        yield from pairs(("did not hold", ", ".join(said.refused)))
    if said.trouble:
        yield from pairs(("TROUBLE", said.trouble))


def _offer(offer: OfferView) -> Iterator[str]:
    yield from pairs(
        ("offered", f"{offer.version}, {offer.bytes / 1e6:.1f} MB, content: {offer.content}"),
        ("changes", offer.changes or "not said"),
        ("clinical", offer.clinical or "nothing said: ask before you agree"),
    )


def _would_install(said: UpdateView, source: str) -> Iterator[str]:
    if said.offer is None:
        raise ConsoleError("nothing is offered: `update check`, or with a stick `update check /media/usb`")
    yield from _offer(said.offer)
    yield f"to agree to it: update install {f'{said.offer.version} {source}'.rstrip()}"


def _history(box: Box) -> Iterator[str]:
    """The updater's own log where we may read it, and else what its status remembers."""
    try:
        files = sorted(path for path in box.update_history.iterdir() if path.suffix == ".log")
        lines = [line for path in files[-2:] for line in path.read_bytes().splitlines()][-_LINES:]
    except OSError as exc:
        lines = []
        yield f"{box.update_history}: {exc.strerror}; as root: endoedge update history"
    for said in filter(None, map(_entry, lines)):
        yield f"{said.get('at', '?')} {said.get('who', '?')}: {said.get('command', '?')}: {said.get('outcome', '?')}"
    if not lines:
        update = _needed(box)
        for answer in update.answers:
            yield f"{_outcome(answer)}: {answer.words}"
        yield f"did not hold here: {', '.join(update.refused) or 'none'}"


def _entry(text: bytes) -> dict[str, Any]:
    with contextlib.suppress(msgspec.DecodeError):
        found = msgspec.json.decode(text)
        return found if isinstance(found, dict) else {}
    return {}


# --------------------------------------------------------------------------------------------------- wished


def _wished(desk: Desk, verb: Verb, version: str, source: str) -> Job:
    box = desk.box
    said = _needed(box)
    if box.update_age_s(said) > STALE_S:
        raise ConsoleError(f"the updater has said nothing for {box.update_age_s(said):.0f} s: is it running? see `log`")
    if verb == "install":
        yield from _agreed_to(said, version)
    id_ = updating.wish(box.wishes, verb, f"console: {desk.gate.who}"[:64], version, source)
    path = box.wishes / f"{id_}.json"
    try:
        yield from _taken(box, path)
        if verb in ("install", "confirm", "rollback"):
            yield "with a switch this console starts anew: log in again, then `update status`"
        yield from _followed(box, id_)
    finally:
        path.unlink(missing_ok=True)


def _agreed_to(said: UpdateView, version: str) -> Iterator[str]:
    """Consent is to what was shown: the version that is offered now, and no other."""
    if said.offer is None or said.offer.version != version:
        offered = f"{said.offer.version} is" if said.offer else "nothing is"
        raise ConsoleError(f"{offered} offered, not {version}: `update check`, then `update install`")
    yield from _offer(said.offer)


def _taken(box: Box, path: Path) -> Generator[Step, bytes | None, None]:
    until_ns = box.clock.now_ns() + int(TAKEN_WITHIN_S * 1e9)
    while path.exists():
        if box.clock.now_ns() > until_ns:
            raise ConsoleError("the updater does not take it: is endoedge-update running? see `log`")
        yield Wait(_LOOK_S)


def _followed(box: Box, id_: str) -> Generator[Step, bytes | None, None]:
    """Until it is over. How far it is, whenever that is another thing to say."""
    shown: tuple[str, str] | None = None
    while True:
        update = box.update()
        if isinstance(update, UpdateView):
            answer = next((one for one in update.answers if one.id == id_), None)
            if answer and answer.done:
                if not answer.ok:
                    raise ConsoleError(answer.words or "it was not done")
                yield answer.words or "done"
                return
            if box.update_age_s(update) > STALE_S:
                raise ConsoleError("the updater says nothing any more; what it was asked for goes on when it is back")
            now = (line(box), answer.words if answer else "")
            if now != shown:
                shown = now
                yield ": ".join(filter(None, now))
        yield Wait(_FOLLOW_S)


def _needed(box: Box) -> UpdateView:
    said = box.update()
    if isinstance(said, str):
        raise ConsoleError(f"updater {said}")
    return said


def _outcome(answer: AnswerView) -> str:
    return "goes on" if not answer.done else "done" if answer.ok else "NOT done"


def _read(words: list[str]) -> tuple[str, str]:
    """Version and folder, each once and in any order; "" for what is not there. Raises ConsoleError."""
    version = [word for word in words if _VERSION.fullmatch(word)]
    folder = [word for word in words if word.startswith("/")]
    if len(version) > 1 or len(folder) > 1 or len(version) + len(folder) < len(words):
        raise ConsoleError("expected a version such as 1.4.2, and a folder such as /media/usb")
    return "".join(version), "".join(folder)
