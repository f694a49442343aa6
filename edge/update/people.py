"""What people ask of the updater, and what they are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UpdateError
from edge.update import state
from edge.update.wishes import Wishes
from edge.updating import Answer, Verb, Wish

if TYPE_CHECKING:
    from edge.update.updater import Updater

LOOKING = ("idle", "offered", "fetched", "installed")  # states in which it may be looked what is offered
_UNDER_WAY = ("downloading", "installing")
_SEE = "see `endoedge update status`"


class People:
    """Owner: the updater's thread."""

    def __init__(self, updater: Updater, wishes: Wishes) -> None:
        self._updater, self._wishes = updater, wishes

    @property
    def answers(self) -> tuple[Answer, ...]:
        return self._wishes.answers

    def hear(self) -> None:
        """What is new."""
        for wish in self._wishes.take():
            if wish.verb != "check":
                self._updater.note(wish.who, f"update {wish.verb} {wish.version}".strip(), "asked for")
            try:
                self._begin(wish)
            except UpdateError as exc:
                self._wishes.answer(wish, str(exc), ok=False)

    def answer(self, verbs: tuple[Verb, ...] = ("check", "download", "install")) -> None:
        """Those who wait for what is found, fetched or written."""
        waiting = [wish for wish in self._wishes.waiting if wish.verb in verbs]
        job = self._updater.job
        for wish in waiting:
            try:
                if job is None:
                    self._carry_on(wish)
                else:
                    percent, words = job.told
                    self._wishes.answer(wish, f"{percent} %: {words}" if percent else words or "begins", done=False)
            except UpdateError as exc:
                self._wishes.answer(wish, str(exc), ok=False)

    def disappoint(self, wrong: str) -> None:
        """What failed is an answer to all who waited for it."""
        for wish in self._wishes.waiting:
            self._wishes.answer(wish, wrong, ok=False)

    # ------------------------------------------------------------------------------------------ what is asked for

    def _begin(self, wish: Wish) -> None:
        match wish.verb:
            case "check" | "download" | "install":
                self._look(wish)
            case "confirm":
                if self._updater.memory.state != "trying":
                    raise UpdateError("nothing is on trial")
                self._updater.hold(wish.who)
                self._wishes.answer(wish, f"{self._updater.version} is kept")
            case "rollback":
                self._back(wish)

    def _look(self, wish: Wish) -> None:
        """First, where nothing is known or a stick is named; `_carry_on` goes on with it."""
        memory, job, base = self._updater.memory, self._updater.job, wish.source or self._updater.url
        if memory.state in _UNDER_WAY and wish.verb != "check" and not wish.source:
            return self._carry_on(wish)  # what a person agrees to is kept, also when we are killed meanwhile
        if memory.state not in LOOKING:
            raise UpdateError(f"not now: {memory.state}; {_SEE}")
        if job is not None and job.name == "check" and not wish.source:
            return None  # it is being looked already
        if wish.verb == "check" or wish.source or memory.offer is None:
            if not base:
                raise UpdateError("update.url is not set: name a stick's folder")
            if job is not None:
                raise UpdateError(f"not now: {job.told[1]}")
            self._updater.look(base)
        return None

    def _back(self, wish: Wish) -> None:
        memory = self._updater.memory
        if self._updater.booted == "F":
            raise UpdateError("what runs is what was installed first: there is nothing behind it")
        if self._updater.job is not None or memory.state not in (*LOOKING, "trying"):
            raise UpdateError(f"not now: {memory.state}; {_SEE}")
        self._updater.go_back(f"{wish.who} asked for it", True)
        self._wishes.answer(wish, "goes back to the release before")

    def _carry_on(self, wish: Wish) -> None:
        memory = self._updater.memory
        offer = memory.offer
        if offer is None:
            words = self._updater.why_none or "nothing newer is offered"
            return self._wishes.answer(wish, words, ok=wish.verb == "check")
        if wish.version and wish.version != offer.version:
            raise UpdateError(f"{wish.version} is not offered; {offer.version} is")
        digest = offer.bundle.sha256
        if wish.verb == "check":
            return self._wishes.answer(wish, f"{offer.version} is offered")
        if wish.verb == "download":
            if digest not in memory.wanted:
                return self._updater.become(state.want(memory, digest), f"{wish.who} wants it fetched")
            if memory.state not in ("offered", "downloading"):
                return self._wishes.answer(wish, f"{offer.version} is here")
        if wish.verb == "install":
            if not wish.version:
                raise UpdateError(f"name the version that you agree to: endoedge update install {offer.version}")
            if digest not in memory.agreed or any(one.sha256 == digest for one in memory.refused):
                return self._updater.become(state.agree(memory, digest), f"{wish.who} agrees to {offer.version}")
            if memory.state in ("switching", "trying"):
                return self._wishes.answer(wish, f"{offer.version} is written, and the box switches to it now")
        if waits := self._updater.obstacles():
            return self._wishes.answer(wish, "it waits: " + "; ".join(one.words for one in waits))
        return None
