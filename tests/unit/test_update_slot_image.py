"""What is started: real images, really mounted, in a folder instead of the machine's root."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.update import slot
from edge.update.slot import Boot

PROGRAM = Path(slot.__file__)
BOTH = frozenset("AB")


def missing() -> str:
    if os.geteuid():
        return "needs root"
    if not shutil.which("mksquashfs"):
        return "mksquashfs is not installed"
    if not Path("/dev/loop-control").exists():
        return "no loop devices"
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return "no mounting here, not even for root" if tried.returncode else ""


class Machine:
    """A root of its own with a release as installed, and releases in slots."""

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.run = root, root / "var/lib/endoedge-slots", root / "run/endoedge-slots"
        self.store.mkdir(parents=True)
        self._release(root / "opt/endoedge/releases/1", "0.1.0")
        (root / "opt/endoedge/current").symlink_to("releases/1")
        self._status: dict[str, str] = {}

    def _release(self, folder: Path, version: str) -> None:
        (folder / "venv/bin").mkdir(parents=True)
        (folder / "venv/bin/endoedge").touch()
        (folder / "release.json").write_text(json.dumps({"version": version}))

    def put(self, name: str, version: str, tail: bytes = b"") -> None:
        """As RAUC does."""
        content, image = self.root / f"content-{version}", self.store / f"{name}.img"
        self._release(content, version)
        image.unlink(missing_ok=True)
        subprocess.run(["mksquashfs", content, image, "-noappend", "-quiet"], check=True, capture_output=True)
        self.status(name, image.read_bytes())
        with image.open("ab") as file:
            file.write(tail)

    def status(self, name: str, content: bytes, status: str = "ok") -> None:
        self._status[name] = (
            f"[slot.app.{slot.SLOTS.index(name)}]\nstatus={status}\nsha256={hashlib.sha256(content).hexdigest()}\n"
            f"size={len(content)}\nactivated.timestamp=2026-01-01T00:00:00Z\n\n"
        )
        (self.store / "rauc.status").write_text("".join(self._status.values()))

    def harm(self, name: str) -> None:
        image = self.store / f"{name}.img"
        content = bytearray(image.read_bytes())
        content[len(content) // 2] ^= 1
        image.write_bytes(content)

    def boot(self, boot: Boot) -> None:
        slot.write(self.store / "boot.json", boot)

    @property
    def state(self) -> Boot:
        return slot.read(self.store / "boot.json")

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"ENDOEDGE_ROOT": str(self.root), "PATH": os.environ["PATH"]}
        return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False, env=environment)

    def up(self) -> str:
        """What `booted` says then."""
        done = self.call("up")
        assert done.returncode == 0, done.stderr
        return self.booted

    @property
    def booted(self) -> str:
        return (self.run / "booted").read_text().strip()

    @property
    def version(self) -> str:
        return str(json.loads((self.run / "current/release.json").read_text())["version"])

    def mounted(self) -> set[str]:
        return {name for name in slot.SLOTS if os.path.ismount(self.run / name)}


@contextlib.contextmanager
def somebody_looks(folder: Path) -> Iterator[None]:
    """A container, or a shell of a service's: its own copy of every mount outlives ours."""
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        f"cd {folder} && echo here && exec sleep 60",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Machine]:
    if reason := missing():
        pytest.skip(reason)
    machine = Machine(tmp_path)
    yield machine
    for name in machine.mounted():
        subprocess.run(["umount", "--lazy", machine.run / name], check=True)


def test_as_installed_it_is_the_factory_s(box: Machine) -> None:
    assert box.up() == "F"
    assert (box.version, box.mounted()) == ("0.1.0", set())
    assert (box.run / "current").readlink() == box.root / "opt/endoedge/releases/1"
    assert (box.run / "rauc.env").read_text() == "BOOTED=_external_\n"
    assert not (box.store / "boot.json").exists()


def test_a_trial_and_what_is_said_of_it(box: Machine) -> None:
    box.put("A", "0.2.0", tail=b"what was left of a longer image")
    box.boot(slot.try_out(Boot(), "A"))
    assert box.up() == "A"
    assert (box.version, box.mounted(), box.state.left) == ("0.2.0", {"A"}, 2)
    said = json.loads((box.run / "trial").read_text())
    assert said["until_s"] - said["began_s"] == pytest.approx(300)
    assert {key: said[key] for key in ("slot", "start", "starts")} == {"slot": "A", "start": 1, "starts": 3}
    assert (box.run / "rauc.env").read_text() == "BOOTED=A\n"
    with pytest.raises(OSError, match="Read-only"):
        (box.run / "A/release.json").write_text("")
    assert box.call("hold").returncode == 0
    assert box.call("down").returncode == 0
    assert box.mounted() == set()
    assert box.up() == "A"
    assert not (box.run / "trial").exists()
    assert box.state == Boot("A", frozenset("A"), trials=1)


def test_ready_has_it_mounted_before_the_stop(box: Machine) -> None:
    box.put("A", "0.2.0")
    box.boot(slot.try_out(Boot(), "A"))
    box.boot(slot.hold(slot.start(box.state)[0]))
    assert box.up() == "A"
    box.put("B", "0.3.0")
    box.boot(slot.try_out(box.state, "B"))
    assert box.call("ready").returncode == 0
    assert (box.mounted(), box.booted, box.version, box.state.left) == ({"A", "B"}, "A", "0.2.0", 3)
    assert box.call("down").returncode == 0
    assert box.mounted() == {"B"}
    assert box.up() == "B"
    assert (box.version, box.mounted()) == ("0.3.0", {"B"})


def test_what_was_written_after_ready_is_read_again(box: Machine) -> None:
    box.put("A", "0.2.0")
    box.boot(slot.try_out(Boot(), "A"))
    assert box.call("ready").returncode == 0
    box.harm("A")
    assert box.up() == "F"
    assert "sha256" in box.state.why


def test_a_slot_file_that_is_gone_is_there_again(box: Machine) -> None:
    """RAUC writes none that is not there."""
    box.put("A", "0.2.0")
    box.boot(Boot("A", frozenset("A")))
    (box.store / "A.img").unlink()
    assert box.up() == "F"
    assert "A.img" in box.state.why
    assert [(box.store / f"{name}.img").stat().st_size for name in "AB"] == [0, 0]


def cut(box: Machine) -> None:
    os.truncate(box.store / "A.img", 1000)


def gone(box: Machine) -> None:
    (box.store / "A.img").unlink()


def unknown(box: Machine) -> None:
    (box.store / "rauc.status").unlink()


def half(box: Machine) -> None:
    box.status("A", (box.store / "A.img").read_bytes(), status="update")


def nonsense(box: Machine) -> None:
    (box.store / "rauc.status").write_bytes(b"\xff[[[\n=\n")


def no_release(box: Machine) -> None:
    (box.store / "A.img").write_bytes(bytes(10_000))
    box.status("A", bytes(10_000))


HARMS = [lambda box: box.harm("A"), cut, gone, unknown, half, nonsense, no_release]


@pytest.mark.parametrize("harm", HARMS, ids=["flipped", "cut", "gone", "unknown", "half", "nonsense", "no_release"])
def test_an_image_that_is_not_whole_is_not_started(harm: Callable[[Machine], None], box: Machine) -> None:
    """On trial: what ran before is. And again as the primary, where it falls back to the factory's."""
    box.put("A", "0.2.0")
    harm(box)
    box.boot(slot.try_out(Boot(), "A"))
    assert box.up() == "F"
    assert (box.state.trial, box.state.good, box.state.primary) == ("", frozenset(), "F")
    assert box.state.why
    box.boot(Boot("A", frozenset("A")))
    assert box.up() == "F"
    assert (box.state.good, box.state.primary) == (frozenset(), "F")
    assert box.mounted() == set()


def test_one_bad_slot_leaves_the_other_and_two_the_factory_s(box: Machine) -> None:
    box.put("A", "0.2.0")
    box.put("B", "0.3.0")
    box.boot(Boot("A", BOTH))
    box.harm("A")
    assert box.up() == "B"
    assert box.state.primary == "B"
    box.harm("B")
    box.call("down")
    assert box.up() == "F"
    assert box.version == "0.1.0"


def test_what_somebody_still_looks_at_is_not_shown_for_what_was_written_there(box: Machine) -> None:
    """RAUC writes into the same file, and the kernel would share a loop device of it."""
    box.put("A", "0.2.0")
    box.boot(Boot("A", frozenset("A")))
    assert box.up() == "A"
    assert box.version == "0.2.0"
    with somebody_looks(box.run / "A"):
        assert box.call("down").returncode == 0
        before = (box.store / "A.img").stat().st_ino
        box.put("B", "0.3.0")
        (box.store / "A.img").write_bytes((box.store / "B.img").read_bytes())
        box.status("A", (box.store / "B.img").read_bytes())
        assert (box.store / "A.img").stat().st_ino == before
        assert box.up() == "A"
        assert box.version == "0.3.0"
        assert (box.run / "A/release.json").read_bytes() == (box.root / "content-0.3.0/release.json").read_bytes()


def test_what_is_not_to_be_had_stops_nothing(box: Machine) -> None:
    """`ready` fails, so `switch` ends before anything is stopped."""
    box.put("A", "0.2.0")
    box.boot(Boot("A", frozenset("A")))
    assert box.up() == "A"
    box.put("B", "0.3.0")
    box.harm("B")
    box.boot(slot.try_out(box.state, "B"))
    done = box.call("ready")
    assert (done.returncode, box.booted) == (1, "A")
    assert "B.img: its sha256 is not" in done.stderr
    assert (box.state.trial, box.state.primary) == ("", "A")
    assert "B.img" in box.state.why


def test_a_damaged_boot_file_starts_the_factory_s(box: Machine) -> None:
    box.put("A", "0.2.0")
    (box.store / "boot.json").write_text("{")
    assert box.up() == "F"


def test_a_disk_that_takes_nothing_tries_nothing(box: Machine) -> None:
    """A start that cannot be counted would be tried for ever."""
    box.put("A", "0.2.0")
    box.put("B", "0.3.0")
    box.boot(slot.try_out(Boot("A", BOTH), "B"))
    subprocess.run(["mount", "--bind", box.store, box.store], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", box.store], check=True)
    try:
        assert box.call("ready").returncode == 1
        done = box.call("up")
        assert (done.returncode, box.booted) == (0, "A")
        assert "no trial" in done.stderr
    finally:
        box.call("down")
        subprocess.run(["umount", "--lazy", box.store], check=True)


def test_nothing_at_all_is_said(box: Machine) -> None:
    (box.root / "opt/endoedge/current").unlink()
    done = box.call("up")
    assert done.returncode == 1
    assert "opt/endoedge/current" in done.stderr
