"""Kills the update client (SIGKILL) and looks what it left. A process of its own with one thread: it forks.

python -m tests.support.update_victim steps|checks|bundle FOLDER BASE KILLS SEED

Prints one JSON object. `FOLDER/root.json` is the repository's first root. What must not be is an AssertionError.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from tuf.api.metadata import Metadata

from edge.errors import UpdateError
from edge.update.client import Client
from edge.update.offer import Offer
from tests.support.tuf_repository import START
from tests.support.update_box import Box

_CHANGES = {"os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.chmod"}
Tell = Callable[[], None]


def _child(work: Callable[[Tell], None]) -> tuple[int, int]:
    """Its number, and a pipe that gets a byte whenever it tells."""
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        return pid, reading
    try:
        work(lambda: os.write(writing, b".") and None)
        os._exit(0)
    except BaseException as exc:
        print(repr(exc), file=sys.stderr, flush=True)
        os._exit(1)


def _die_at(count: int, folder: Path) -> None:
    """Before the step of that number: a file opened in that folder, a name made, changed, removed."""
    left = count

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _CHANGES or (event == "open" and str(arguments[0]).startswith(str(folder))):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _check(box: Box, base: str) -> str:
    try:
        return box.check(base).offer.version
    except UpdateError as exc:
        return exc.code


def steps(folder: Path, root: bytes, bases: list[str]) -> dict[str, int]:
    """A check killed before each of its steps, one after the other. `bases`: of what the box has seen before, and of
    what it sees now. It holds the one set, or the other."""
    template, whole = Box(folder / "template", root), Box(folder / "whole", root)
    assert _check(template, bases[0]) == "1.2.0"
    shutil.copytree(template.folder, whole.folder, symlinks=True)
    said, before = _check(whole, bases[1]), template.held()
    after = whole.held()
    assert after != before
    found = {"steps": 0, "old": 0, "new": 0}
    while True:
        box = Box(folder / f"step-{found['steps']}", root)
        shutil.copytree(template.folder, box.folder, symlinks=True)

        def work(_tell: Tell, box: Box = box, count: int = found["steps"] + 1) -> None:
            _die_at(count, box.folder)
            _check(box, bases[1])

        pid, pipe = _child(work)
        os.close(pipe)
        ended = os.waitpid(pid, 0)[1]
        held = box.held()
        assert held in (before, after), (found, held)
        assert _check(box, bases[1]) == said
        assert box.held() == after
        assert len(list((box.folder / "tuf").iterdir())) == 2, "something was left behind"
        if os.WIFEXITED(ended):
            assert os.WEXITSTATUS(ended) == 0
            return found
        found["steps"] += 1
        found["new" if held == after else "old"] += 1


def checks(folder: Path, root: bytes, base: str, kills: int, chance: random.Random) -> dict[str, int]:
    """While somebody publishes one release after the other. Each time what is held fits together, and is never older
    than before."""
    box, newest, done = Box(folder / "box", root), 0, 0

    def work(tell: Tell) -> None:
        while _check(box, base):
            tell()

    for _ in range(kills):
        pid, pipe = _child(work)
        assert select.select([pipe], [], [], 60)[0], "no check came to its end"
        time.sleep(chance.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        done += len(os.read(pipe, 1 << 16))
        os.close(pipe)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        _fits_together(box)
        known = int(box.known().rpartition(".")[2])
        assert known >= newest, (known, newest)
        newest = known
    return {"kills": kills, "checks": done, "newest": newest}


def _fits_together(box: Box) -> None:
    held = box.held()
    timestamp, snapshot, targets = (
        Metadata.from_bytes(bytes(held[f"metadata/{name}.json"]))  # type: ignore[arg-type]
        for name in ("timestamp", "snapshot", "targets")
    )
    assert timestamp.signed.snapshot_meta.version == snapshot.signed.version
    assert snapshot.signed.meta["targets.json"].version == targets.signed.version
    targets.signed.targets["stable.json"].verify_length_and_hashes(held["offers/stable.json"])
    assert held.keys() >= {"seen.json", "metadata/root_history/1.root.json"}


def bundle(folder: Path, base: str, kills: int, chance: random.Random) -> dict[str, int]:
    """`FOLDER/offer.json`, whose url names a round. It goes on after each kill; a bundle that is whole is removed, and
    the next round begins."""
    offer = msgspec.json.decode((folder / "offer.json").read_bytes(), type=Offer)
    client, done, rounds = Client(folder / "box", b"", START), 0, 0
    while done < kills:
        url = offer.bundle.url.format(rounds)
        now = msgspec.structs.replace(offer, bundle=msgspec.structs.replace(offer.bundle, url=url))
        pid, pipe = _child(lambda tell, now=now: client.download(now, base, lambda _have, _size: tell()) and None)
        for _ in range(chance.randrange(1, 5)):
            if not os.read(pipe, 1):
                break
        time.sleep(chance.uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        os.close(pipe)
        if os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
            done += 1
        else:
            client.download(now, base, lambda _have, _size: None).unlink()  # its digest is looked at once more
            rounds += 1
    client.download(now, base, lambda _have, _size: None)
    return {"kills": done, "rounds": rounds + 1}


def main(what: str, folder: Path, base: str, kills: int, seed: int) -> None:
    chance, root = random.Random(seed), folder / "root.json"
    if what == "steps":
        found = steps(folder, root.read_bytes(), base.split("|"))
    elif what == "checks":
        found = checks(folder, root.read_bytes(), base, kills, chance)
    else:
        found = bundle(folder, base, kills, chance)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
