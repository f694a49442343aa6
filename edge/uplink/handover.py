"""One record's way to the report server: which request comes next, and what an answer means. Pure.

The record is posted first. The server says which key frames it misses, those are put, and it is posted again: so an
upload that broke off, or whose last answer was lost, goes on where it was, and nobody has to remember where.

What the server took is let go of here. So a success that does not name what was sent is none: who sits between us (a
hotel's sign-on page, a proxy of the wrong host) answers 200 to everything.
"""

from __future__ import annotations

import http
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from edge.procedure import KeyFrame, Record

STRANGER = "but not as a report server does: correct uplink.reports.url"
TRIES_MOST = 3  # so often the same key frame may be said to be missing, right after it was taken


class Named(msgspec.Struct, frozen=True):
    """A record, as an answer names it."""

    device: str
    procedure: str
    revision: int

    @classmethod
    def of(cls, record: Record) -> Named:
        return cls(record.heading.device, record.procedure, record.revision)


class Answer(NamedTuple):
    status: int
    error: str = ""  # the server's own sentence; "": it is no report server's, or says none
    missing: tuple[str, ...] = ()  # sha256 of key frames that it has not got
    taken: str | Named | None = None  # what it has: a key frame's sha256, or a record

    @property
    def said(self) -> str:
        """For people."""
        known = self.status in http.HTTPStatus.__members__.values()
        words = self.error or (http.HTTPStatus(self.status).phrase if known else "")
        return f"answers {self.status}" + (f": {words}" if words else "")


class Post(NamedTuple):
    """The record."""


class Put(NamedTuple):
    """A key frame."""

    sha256: str


class Sent(NamedTuple):
    """The server has all of it."""


class Aside(NamedTuple):
    """This record will not be taken, whenever it is tried; others may be."""

    reason: str


class Later(NamedTuple):
    """Not now. `permanent`: it looks as if a person must act first."""

    reason: str
    permanent: bool = False


Next = Post | Put | Sent | Aside | Later

_RECORD_S_FAULT = (400, 403, 409, 413, 415, 422)  # of this record or this key frame
_ANYBODY_S = 403  # a proxy's, too: the record's fault only in a report server's words
_PERSON = (401, 404, 405, 410)  # of token or url


class Upload:
    """`next` says what to do; `answered` is told what came of it."""

    def __init__(self, record: Named, frames: Sequence[str]) -> None:
        """`frames`: sha256 of the record's key frames."""
        self._record, self._frames = record, frozenset(frames)
        self._tries: dict[str, int] = {}
        self._missing: list[str] = []
        self.next: Next = Post()

    def answered(self, answer: Answer) -> None:
        """To the Post or Put that `next` was."""
        if isinstance(self.next, Put):
            self.next = self._after_put(self.next, answer)
        elif isinstance(self.next, Post):
            self.next = self._after_post(answer)

    def _after_put(self, step: Put, answer: Answer) -> Next:
        if not _taken(answer, step.sha256):
            return _refused(answer)
        self._missing.pop(0)
        return Put(self._missing[0]) if self._missing else Post()

    def _after_post(self, answer: Answer) -> Next:
        if _taken(answer, self._record):
            return Sent()
        if answer.status != 409 or not answer.missing:
            return _refused(answer)
        self._missing = list(dict.fromkeys(answer.missing))
        if strange := [one for one in self._missing if one not in self._frames]:
            return Later(f"it misses key frames that this record does not have: {strange[0]}", permanent=True)
        for one in self._missing:
            self._tries[one] = self._tries.get(one, 0) + 1
            if self._tries[one] > TRIES_MOST:
                return Later(f"it does not keep the key frame {one} that it took")
        return Put(self._missing[0])


def _taken(answer: Answer, sent: str | Named) -> bool:
    return answer.status in (200, 201) and answer.taken == sent


def _refused(answer: Answer) -> Aside | Later:
    strangers = answer.status == _ANYBODY_S and not answer.error
    if 200 <= answer.status < 300 or strangers:
        return Later(f"answers {answer.status}, {STRANGER}", permanent=True)
    if answer.status in _RECORD_S_FAULT:
        return Aside(answer.said)
    return Later(answer.said, permanent=answer.status in _PERSON)


def without_lost(record: Record, is_there: Callable[[KeyFrame], bool]) -> Record:
    """The record without those key frames that are not on the disk any more as they were; it says so itself."""
    lost: dict[str, str] = {}

    def kept(id: str, frame: KeyFrame | None) -> KeyFrame | None:
        if frame is None or is_there(frame):
            return frame
        lost[f"key frame of {id}"] = "it was damaged on the box's disk, or removed"
        return None

    replace = msgspec.structs.replace
    landmarks = tuple(replace(one, key_frame=kept(one.id, one.key_frame)) for one in record.landmarks)
    findings = tuple(replace(one, key_frame=kept(one.id, one.key_frame)) for one in record.findings)
    return replace(record, landmarks=landmarks, findings=findings, not_recorded=record.not_recorded | lost)
