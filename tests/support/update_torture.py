"""Kill the update client many times, against a real server, and count what it cost.

python -m tests.support.update_torture 60 [SEED]
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge.update.offer import Bundle, Offer
from tests.support.static_server import Request, StaticServer
from tests.support.tuf_repository import Repository
from tests.support.update_box import Place

_SIZE = 12 << 20


class Repeated(NamedTuple):
    """`most`, `mean`: bytes that the server sent once more after a kill."""

    kills: int
    rounds: int
    most: int
    mean: float


def steps(folder: Path, *, broken: bool = False) -> dict[str, int]:
    """A root, a timestamp, a snapshot, targets and an offer are new. `broken`: the root alone can be had."""
    repository = Repository()
    place = Place(folder, repository)
    place.release("1.2.0")
    old = repository.lay(folder / "old")
    repository.rotate("timestamp")
    repository.publish_root()
    place.release("1.3.0")
    if broken:
        (place.folder / "metadata" / "timestamp.json").unlink()
    (folder / "root.json").write_bytes(repository.first_root)
    return _victim("steps", folder, f"{old}|{place.folder}", 0, 0)


def checks(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """While release after release is published."""
    place, over = Place(folder), threading.Event()
    (folder / "root.json").write_bytes(place.repository.first_root)
    place.release("1.0.0")

    def publish() -> None:
        number = 0
        while not over.wait(0.02):
            number += 1
            place.release(f"1.0.{number}")

    thread = threading.Thread(target=publish, name="publisher")
    with StaticServer(place.folder) as server:
        thread.start()
        try:
            return _victim("checks", folder, server.url, kills, seed)
        finally:
            over.set()
            thread.join()


def bundle(folder: Path, kills: int, seed: int) -> Repeated:
    content = random.Random(seed).randbytes(_SIZE)
    (folder / "served").mkdir()
    (folder / "served" / "bundle").write_bytes(content)
    for number in range(kills + 1):
        (folder / "served" / f"bundle-{number}").symlink_to("bundle")
    said = Bundle(url="bundle-{}", size=_SIZE, sha256=hashlib.sha256(content).hexdigest())
    offer = Offer(version="1.0.0", channel="stable", hardware=("endoedge-test",), bundle=said)
    (folder / "offer.json").write_bytes(msgspec.json.encode(offer))
    with StaticServer(folder / "served") as server:
        found = _victim("bundle", folder, server.url, kills, seed)
        rounds: dict[str, list[Request]] = defaultdict(list)
        for request in server.requests:
            rounds[request.path].append(request)
    repeated = [more for requests in rounds.values() for more in _repeated(requests)]
    return Repeated(found["kills"], found["rounds"], max(repeated), sum(repeated) / found["kills"])


def _repeated(requests: list[Request]) -> list[int]:
    """Bytes that were sent before, of each request."""
    begins = [int(one.range[6:-1] or 0) if one.range else 0 for one in requests]
    ends = [begin + one.sent for begin, one in zip(begins, requests, strict=True)]
    return [max(0, end - begin) for end, begin in zip([0, *ends], begins, strict=False)]


def _victim(what: str, folder: Path, base: str, kills: int, seed: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.support.update_victim", what, str(folder), base, str(kills), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"seed {seed}: {done.stderr[-4000:]}")
    found: dict[str, int] = json.loads(done.stdout)
    return found


def main(kills: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        for part in ("steps", "broken", "checks", "bundle"):
            os.mkdir(Path(name) / part)  # noqa: PTH102
        print(f"seed {seed}")
        for part, broken in (("steps", False), ("broken", True)):
            found = steps(Path(name) / part, broken=broken)
            print(
                f"{part}: killed at each of {found['steps']} steps: {found['old']} x the old set, {found['new']} x new"
            )
        print(f"checks: {checks(Path(name) / 'checks', kills, seed)}: each time one set, never older")
        print(f"bundle: {bundle(Path(name) / 'bundle', kills, seed)}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 20))
