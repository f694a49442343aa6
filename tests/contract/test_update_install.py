"""Real RAUC writes real slots: what is whole and signed, for this board, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.errors import UpdateError
from edge.update import slot
from edge.update.install import Rauc
from tests.support import rauc
from tests.support.rauc import Signer, Slots

pytestmark = pytest.mark.skipif(bool(rauc.missing()), reason=rauc.missing())
IMAGE = os.urandom(300_000)


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[Slots]:
    with Slots(tmp_path) as running:
        yield running


@pytest.fixture
def installer(slots: Slots) -> Iterator[Rauc]:
    opened = Rauc(slots.address, slots.folder / "status")
    yield opened
    opened.close()


def test_a_release_is_written_and_is_on_trial(slots: Slots, installer: Rauc) -> None:
    said: list[tuple[int, str]] = []
    before = slots.file("A").read_bytes()
    installer.install(slots.bundle("1.2.0", IMAGE), lambda percent, words: said.append((percent, words)))
    assert slots.file("B").read_bytes()[: len(IMAGE)] == IMAGE
    assert slots.file("A").read_bytes() == before
    assert [percent for percent, _ in said] == sorted(percent for percent, _ in said)
    boot = slot.read(slots.boot)
    assert (boot.primary, boot.trial, boot.left) == ("A", "B", slot.STARTS)
    found = installer.slots()
    assert (found["A"]["state"], found["B"]["state"]) == ("booted", "inactive")
    assert (found["B"]["size"], found["B"]["bundle.version"]) == (len(IMAGE), "1.2.0")


def test_what_says_what_was_written_is_on_the_disk(
    slots: Slots, installer: Rauc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RAUC replaces its status file and syncs no folder."""
    synced, real = set[Path](), os.fsync

    def sync(number: int) -> None:
        real(number)
        synced.add(Path(f"/proc/self/fd/{number}").readlink())

    monkeypatch.setattr(os, "fsync", sync)
    installer.install(slots.bundle("1.2.0", IMAGE))
    assert synced == {slots.folder / "status", slots.folder}
    (slots.folder / "status").unlink()
    with pytest.raises(UpdateError, match="status: cannot be synced: No such file"):
        installer._sync()


def test_the_one_that_runs_is_never_written(slots: Slots, installer: Rauc) -> None:
    installer.install(slots.bundle("1.2.0", IMAGE))
    slot.write(slots.boot, slot.hold(slot.start(slot.read(slots.boot))[0]))
    assert slots.service is not None
    slots.service.kill()
    slots.service.wait()
    slots.serve(running="B")
    installer.install(slots.bundle("1.3.0", IMAGE[::-1]))
    assert slots.file("B").read_bytes()[: len(IMAGE)] == IMAGE
    assert slots.file("A").read_bytes()[: len(IMAGE)] == IMAGE[::-1]


def flipped(bundle: Path) -> None:
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)


def cut(bundle: Path) -> None:
    os.truncate(bundle, bundle.stat().st_size // 2)


@pytest.mark.parametrize(("harm", "said"), [(flipped, "ignature"), (cut, "ignature"), (Path.unlink, "No such file")])
def test_what_is_not_whole_is_refused(harm: Callable[[Path], None], said: str, slots: Slots, installer: Rauc) -> None:
    bundle = slots.bundle("1.2.0", IMAGE)
    harm(bundle)
    refused(slots, installer, bundle, said)


def test_another_s_signature_is_refused(slots: Slots, installer: Rauc, tmp_path: Path) -> None:
    refused(slots, installer, slots.bundle("1.2.0", IMAGE, signer=Signer(tmp_path, "stranger")), "ignature")


def test_another_board_s_release_is_refused(slots: Slots, installer: Rauc) -> None:
    refused(slots, installer, slots.bundle("1.2.0", IMAGE, compatible="endoedge-jetson-orin"), "ompatible")


def test_a_slot_that_is_a_file_grows_with_what_is_written(slots: Slots, installer: Rauc) -> None:
    """RAUC sets it no bound: room on the disk has to be looked for before (`policy`)."""
    image = os.urandom(rauc.SIZE + 4096)
    installer.install(slots.bundle("1.2.0", image))
    assert slots.file("B").read_bytes() == image


def refused(slots: Slots, installer: Rauc, bundle: Path, said: str) -> None:
    before = {name: slots.file(name).read_bytes() for name in slot.SLOTS}
    with pytest.raises(UpdateError, match=said) as found:
        installer.install(bundle)
    assert str(bundle) in str(found.value)
    assert {name: slots.file(name).read_bytes() for name in slot.SLOTS} == before
    assert not slots.boot.exists() or json.loads(slots.boot.read_text())["trial"] == ""


def test_without_rauc_it_is_said(slots: Slots, installer: Rauc, tmp_path: Path) -> None:
    assert slots.service is not None
    slots.service.kill()
    slots.service.wait()
    with pytest.raises(UpdateError, match="RAUC does not run"):
        installer.install(tmp_path / "b.raucb")
    with pytest.raises(UpdateError, match="RAUC's bus"):
        Rauc(f"unix:path={tmp_path}/none", tmp_path / "status")
