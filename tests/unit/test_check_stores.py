"""Memory, disk and outbox, as `endoedge check` looks at them; and what root leaves behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.cli.checks import stores
from edge.cli.checks.trying import Advice
from edge.errors import EdgeError

SERVICE = 65534  # nobody


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where everybody may go: pytest's own folders are root's alone."""
    made = Path(tempfile.mkdtemp(prefix="endoedge-check-"))
    yield made
    shutil.rmtree(made)


def site(folder: Path, spool_mib: int = 8) -> Any:
    return SimpleNamespace(
        outbox_path=folder / "outbox.db",
        spool_path=folder / "spool",
        config=SimpleNamespace(
            device="box", outbox=SimpleNamespace(max_mib=64), record=SimpleNamespace(max_mib=spool_mib)
        ),
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is root's mistake")
def test_what_root_makes_is_the_services(folder: Path) -> None:
    os.chown(folder, SERVICE, SERVICE)
    folder.chmod(0o770)
    """Typed by root before the service ever ran: the service can write it."""
    assert "outbox.db" in stores.outbox(site(folder), running=False)
    assert (os.geteuid(), os.getegid()) == (0, 0)
    made = list(folder.iterdir())
    assert (folder / "outbox.db").stat().st_mode & 0o777 == 0o660  # the uplink, of the same group, deletes in it
    for file in made:
        facts = file.stat()
        assert (facts.st_uid, facts.st_gid) == (SERVICE, SERVICE), file


def test_beside_a_running_core_the_outbox_is_only_read(folder: Path) -> None:
    stores.outbox(site(folder), running=False)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert "0 messages wait" in stores.outbox(site(folder), running=True)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name in before} == before


def test_a_disk_leaves_nothing_behind_and_knows_what_may_come(folder: Path) -> None:
    assert "may grow by 72 MiB" in stores.disk(site(folder))
    assert list(folder.iterdir()) == []
    with pytest.raises(EdgeError, match="too little"):
        stores.disk(site(folder, spool_mib=1 << 40))
    with pytest.raises(EdgeError, match="not there yet"):
        stores.disk(site(folder / "nowhere"))


def test_a_slow_disk_is_no_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SLOWEST_S", 0.0)
    with pytest.raises(EdgeError, match=r"4 MiB took .* to be on the disk"):
        stores.disk(site(folder))


def machine(folder: Path, free_kib: int, corrected: int = 0, lost: int = 0) -> Path:
    counters = folder / "sys/devices/system/edac/mc/mc0"
    counters.mkdir(parents=True)
    (folder / "proc").mkdir()
    (folder / "proc/meminfo").write_text(f"MemTotal: 9999999 kB\nMemAvailable: {free_kib} kB\n")
    (counters / "ce_count").write_text(f"{corrected}\n")
    (counters / "ue_count").write_text(f"{lost}\n")
    return folder


def test_memory(tmp_path: Path) -> None:
    assert "1000 MiB free" in stores.memory(machine(tmp_path / "good", 1000 * 1024))
    found = stores.memory(machine(tmp_path / "old", 1000 * 1024, corrected=3))
    assert isinstance(found, Advice)
    assert "3 errors were corrected" in found.found
    with pytest.raises(EdgeError, match="100 MiB are free, 200 are needed"):
        stores.memory(machine(tmp_path / "short", 100 * 1024))
    with pytest.raises(EdgeError, match="1 errors that it could not correct"):
        stores.memory(machine(tmp_path / "bad", 1000 * 1024, lost=1))
