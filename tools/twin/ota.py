"""Updates on the twin: a publisher on this machine, a box in the other one on a disk that is kept, and its power."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from packaging.version import Version

from edge.errors import EdgeError, UsageError
from edge.types import Struct
from tools.kept import read
from tools.twin import checkout, needs, ota_killed, publisher, session
from tools.twin.image import Image
from tools.twin.machine import Beside, Machine
from tools.twin.ota_killed import Cuts
from tools.twin.publisher import Releases
from tools.twin.scenarios import Scenario
from tools.twin.session import Result, Session, Watcher
from tools.twin.words import Runs, Step, Up, Word

KILLED = "ota_killed"
_PLAN = {"ota_http": 2, "ota_stick": 2, "ota_watchdog": 1}  # releases


class How(NamedTuple):
    kvm: bool = False
    times: int = 30  # that the power goes
    seed: int = 1
    whole: Path | None = None  # an image by tools/release.sh build, for ota_http


class Place(NamedTuple):
    """All that machines of one scenario have in common."""

    image: Image
    checkout: Path
    beside: Beside
    releases: Releases


class Kept(Struct, frozen=True, kw_only=True):
    """What one scenario gave, in its folder: a session that was broken off goes on with what did not hold yet."""

    how: list[str]
    session: Session


def play(image: Image, wanted: Sequence[Scenario], folder: Path, watcher: Watcher, how: How) -> Session:
    """As `session.play`: each on a disk of its own. What held in that folder before, played the same way, is not played
    again."""
    played = Session(results=[], kernel="", boot_s=0.0, boots=0)
    for scenario in wanted:
        evidence = folder / scenario.name
        evidence.mkdir(parents=True, exist_ok=True)
        file, same = evidence / "session.json", [str(part) for part in how]
        one = _held(file, same)
        if one is None:
            one = _played(image, scenario, folder, watcher, how)
            file.write_bytes(msgspec.json.encode(Kept(how=same, session=one)))
        else:
            watcher(Step(scenario=scenario.name, at_s=0.0, text=f"{scenario.name} held before: {file}"))
        played = session.joined(played, one)
    return played


def _held(file: Path, how: list[str]) -> Session | None:
    """UsageError: nobody can read it."""
    kept = read(file, Kept)
    if kept is None or kept.how != how:
        return None
    problems = [one.problem for one in kept.session.results if one.problem]
    return None if problems else kept.session


def _played(image: Image, scenario: Scenario, folder: Path, watcher: Watcher, how: How) -> Session:
    kernel, boot_s, boots = "", 0.0, 0

    def watching(word: Word) -> None:
        nonlocal kernel, boot_s, boots
        if isinstance(word, Up):
            kernel, boot_s, boots = kernel or word.kernel, boot_s or word.uptime_s, boots + 1
        watcher(word)

    with tempfile.TemporaryDirectory(prefix="twin-ota-") as scratch:
        if scenario.name == KILLED:
            with _place(image, scenario, Path(scratch), how, ()) as place:
                cuts = Cuts(how.times, how.seed)
                result = ota_killed.play(place, scenario, folder / KILLED, watching, how.kvm, cuts)
        else:
            result = _once(image, scenario, Path(scratch), folder, watching, how)
    return Session(results=[result], kernel=kernel, boot_s=boot_s, boots=boots)


def _once(image: Image, scenario: Scenario, scratch: Path, folder: Path, watcher: Watcher, how: How) -> Result:
    """One machine, from its start to what it says at the end. The next release is offered when one holds."""
    versions = [publisher.version(number + 1) for number in range(_PLAN[scenario.name])]
    with _place(image, scenario, scratch, how, versions) as place:
        left = versions[1:] if scenario.updates == "http" else []
        whole = [how.whole] if how.whole and scenario.name == "ota_http" else []

        def watching(word: Word) -> None:
            watcher(word)
            if isinstance(word, Runs) and word.state == "idle" and word.version == place.releases.newest:
                if left:
                    place.releases.publish(left.pop(0))
                elif whole:
                    place.releases.publish_whole(whole.pop())

        run = session._Run([scenario], folder, watching)
        console = folder / scenario.name / "console.txt"
        with Machine(place.image, place.checkout, [scenario.name], console, how.kvm, place.beside) as machine:
            run.follow(machine)
    return run.results[0]


@contextmanager
def _place(image: Image, scenario: Scenario, scratch: Path, how: How, versions: Sequence[str]) -> Iterator[Place]:
    """`versions`: the first is published, and on a stick each of them."""
    releases = Releases(scratch, filling_mib=ota_killed.FILLING_MIB if scenario.name == KILLED else 1)
    releases.publish(versions[0] if versions else publisher.version(1))
    sticks = []
    if scenario.updates == "stick":
        sticks.append(releases.stick(scratch / "stick0.img", "STICK0"))
        for number, version in enumerate(versions[1:], 1):
            releases.publish(version)
            sticks.append(releases.stick(scratch / f"stick{number}.img", f"STICK{number}"))
    whole = publisher.whole_version(how.whole) if how.whole and scenario.name == "ota_http" else ""
    if whole and Version(whole) <= Version(versions[-1]):
        raise UsageError(f"--release {how.whole}: it is {whole}, and comes after {versions[-1]}: expected a newer one")
    with publisher.served(releases.repository) as port:
        given = scratch / "updates.json"
        told = [*versions, whole] if whole else list(versions)
        online = scenario.updates == "http"
        given.write_bytes(msgspec.json.encode({"port": port if online else 0, "versions": told, "whole": whole}))
        beside = {"updates.json": given, "release-ca.pem": releases.ca, "root.json": releases.root}
        disk = scratch / "checkout.img"
        checkout.write_disk(disk, beside)
        kept = keep_disk(image, scratch / "root.img")
        parts = Beside(disk=kept, sticks=tuple(sticks), network=online, restarts=True)
        yield Place(image, disk, parts, releases)


def keep_disk(image: Image, disk: Path) -> Path:
    """A copy that may be written, with a journal as a box's has: its power will go."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(image.disk), str(disk)], check=True)
    made = subprocess.run([needs.program("tune2fs"), "-j", str(disk)], capture_output=True, text=True)
    if made.returncode:
        raise EdgeError(f"tune2fs: {made.stderr.strip()}")
    return disk
