"""Wishes taken and answered as the updater does, without one: the files are the real ones, what comes of it is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge import status, updating
from edge.updating import Answer, Said, UpdateStatus, Wish

OFFER = Said(
    version="1.4.2",
    sha256="ab" * 32,
    bytes=300_000_000,
    content="model",
    changes="a better model",
    clinical="flat polyps are found earlier",
)


def said(updated_ns: int, **changes: Any) -> UpdateStatus:
    """Of a box on which 1.4.1 runs."""
    ordinary = UpdateStatus(version="1.4.1", slot="A", channel="stable", pid=7, updated_ns=updated_ns)
    return msgspec.structs.replace(ordinary, **changes)


def write(run_dir: Path, told: UpdateStatus) -> None:
    status.write(run_dir / updating.STATUS, told)


class Taker(contextlib.AbstractContextManager["Taker"]):
    """`answer`: what is said of a wish, step by step; each is the whole status but for the answer's id."""

    def __init__(self, folder: Path, run_dir: Path, answer: Callable[[Wish], list[UpdateStatus]]) -> None:
        self.wishes: list[Wish] = []
        self._folder, self._run_dir, self._answer = folder, run_dir, answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        folder.mkdir(exist_ok=True)

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            for path in self._folder.glob("*.json"):
                wish = msgspec.json.decode(path.read_bytes(), type=Wish)
                assert path.stem == wish.id
                self.wishes.append(wish)
                path.unlink()
                for told in self._answer(wish):
                    answers = tuple(msgspec.structs.replace(one, id=wish.id) for one in told.answers)
                    write(self._run_dir, msgspec.structs.replace(told, answers=answers))
                    self._stop.wait(0.05)

    def __enter__(self) -> Taker:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()


def done(words: str, ok: bool = True) -> tuple[Answer, ...]:
    return (Answer(id="", done=True, ok=ok, words=words),)
