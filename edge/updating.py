"""What the updater says of itself, and what it can be asked for: the two things that others share with it.

`RUN_DIR/update.json` is replaced once a second. A wish is a file in a folder of its own (`WISHES`), taken away by the
updater; what came of it is an answer in the status.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.errors import UpdateError
from edge.types import Struct

WISHES = Path("/run/endoedge-wishes")  # of the console's user and the updater's; root writes anywhere
STATUS = "update.json"  # in RUN_DIR
STALE_NS = 5_000_000_000  # a status is written once a second
Verb = Literal["check", "download", "install", "confirm", "rollback"]
State = Literal[
    "idle", "offered", "downloading", "fetched", "installing", "installed", "switching", "trying", "going_back"
]
"""idle: what runs is the newest. offered: there is another, and something speaks against it or a person has to agree.
fetched: whole on the disk. installed: written to the slot that does not run. trying: it runs, and is looked at."""


class Wish(Struct, frozen=True, kw_only=True):
    """`check`: look now. `download`, `install`: of the version named, or of what is offered; `install` is consent, to
    the switch, too. `confirm`: a trial held. `rollback`: back to the other slot."""

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$(?!\n)")]
    verb: Verb
    who: Annotated[str, Meta(max_length=64)]
    version: Annotated[str, Meta(max_length=64)] = ""
    source: Annotated[str, Meta(max_length=1000)] = ""
    """A folder (a stick) in which to look instead of the site's address; `check`, `download` and `install`."""


class Answer(Struct, frozen=True, kw_only=True):
    """`done`: it is over, well or not. Until then `words` say how far it is."""

    id: str
    done: bool
    ok: bool = True
    words: str = ""


class Said(Struct, frozen=True, kw_only=True):
    """An offer, for people."""

    version: str
    sha256: str  # of the bundle
    bytes: int
    content: str  # all, model, pipeline: what differs from the release before
    changes: str
    clinical: str


class Obstacle(Struct, frozen=True, kw_only=True):
    """What speaks against the next step. `waits`: it may pass by itself or by a person."""

    code: str
    words: str
    waits: bool = True


class Trial(Struct, frozen=True, kw_only=True):
    """`until_s`: CLOCK_BOOTTIME; then the system goes back by itself."""

    until_s: float
    healthy_s: float  # in a row, of `needed_s`
    needed_s: float
    lacks: str  # what keeps it from being healthy just now; "" when nothing does


class UpdateStatus(Struct, frozen=True, kw_only=True):
    """`RUN_DIR/update.json`."""

    version: str  # of the release that runs
    slot: str  # A, B; F: as it was installed
    channel: str
    pid: int
    updated_ns: int  # CLOCK_MONOTONIC
    state: State = "idle"
    detail: str = ""  # what is done just now, for people
    percent: int = 0  # of a download or an installation
    offer: Said | None = None
    obstacles: tuple[Obstacle, ...] = ()
    checked_at: str = ""  # when the channel was last seen; RFC 3339, UTC
    checked_bytes: int = 0  # that it cost
    clock_trusted: bool = False
    trouble: str = ""  # what a person should know: no network, expired metadata, a version that did not hold
    refused: tuple[str, ...] = ()  # versions that were tried here and did not hold, newest last
    trial: Trial | None = None
    answers: tuple[Answer, ...] = ()  # of the last wishes, oldest first


def wish(folder: Path, verb: Verb, who: str, version: str = "", source: str = "") -> str:
    """Ask for it. Returns the id under which it is answered. Raises UpdateError: there is no such folder, or it may not
    be written."""
    made = Wish(id=secrets.token_hex(8), verb=verb, who=who, version=version, source=source)
    path = folder / f"{made.id}.json"
    try:
        scratch = folder / f".{made.id}"
        number = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(number, "wb") as file:
            file.write(msgspec.json.encode(made))
        scratch.replace(path)
    except FileNotFoundError as exc:
        raise UpdateError(f"{folder}: not there: this machine has no updater (docs/update.md)") from exc
    except OSError as exc:
        raise UpdateError(f"{folder}: cannot be written: {exc.strerror}; are you root?") from exc
    return made.id
