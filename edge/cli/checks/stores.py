"""Where things are kept: memory and disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge.cli.checks.trying import Advice
from edge.cli.site import Site
from edge.durable import sync_folder
from edge.errors import EdgeError
from edge.outbox import Outbox, OutboxReader

MIB = 2**20
LEAST_MIB = 200  # of memory that must be free: the core takes less on a desk machine
PATTERN_MIB, PATTERNS = 64, (0x55, 0xAA)
WRITTEN = 4 * MIB
SLOWEST_S = 2.0  # a write and fsync of that: an event's commit is a thousandth of it


def memory(root: Path = Path("/")) -> str | Advice:
    """What is free, what the memory's controller has counted, and whether 64 MiB hold what is written into them.
    No test of all memory: that takes hours, and a machine that does nothing else."""
    free_mib = _meminfo(root)["MemAvailable"] // MIB
    if free_mib < LEAST_MIB:
        raise EdgeError(f"{free_mib} MiB are free, {LEAST_MIB} are needed")
    lost, mended = (_edac(root, kind) for kind in ("ue", "ce"))
    if lost:
        raise EdgeError(f"the memory's controller has counted {lost} errors that it could not correct")
    block = np.empty(PATTERN_MIB * MIB, np.uint8)
    for pattern in PATTERNS:
        block.fill(pattern)
        if not block.min() == block.max() == pattern:
            raise EdgeError(f"{PATTERN_MIB} MiB were filled with {pattern:#x}, and are not that any more")
    found = f"{free_mib} MiB free; {PATTERN_MIB} MiB hold what is written"
    if mended:
        return Advice(f"{found}; {mended} errors were corrected", "have the memory modules looked at")
    return found


def _meminfo(root: Path) -> dict[str, int]:
    """Bytes by name."""
    lines = (line.split() for line in (root / "proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}


def _edac(root: Path, kind: str) -> int:
    """Errors that were corrected ("ce") or not ("ue"); 0 where the memory has no controller that counts."""
    return sum(int(file.read_text()) for file in root.glob(f"sys/devices/system/edac/mc/mc*/{kind}_count"))


def disk(site: Site) -> str:
    """Written, on the disk, read back from it; and whether outbox and spool can grow as far as they may."""
    folder = site.outbox_path.parent
    if not folder.is_dir():
        raise EdgeError(f"{folder}: is not there yet; the core makes it")
    with as_owner_of(folder):
        written_s, read_s = _written_and_read(folder)
    if written_s > SLOWEST_S:
        raise EdgeError(f"{folder}: {WRITTEN // MIB} MiB took {written_s:.1f} s to be on the disk")
    facts = os.statvfs(folder)
    free_mib = facts.f_bavail * facts.f_frsize // MIB
    needed_mib = _may_grow_mib(site)
    found = (
        f"{folder}: {WRITTEN // MIB} MiB on the disk in {written_s * 1e3:.0f} ms, read back in {read_s * 1e3:.0f} ms;"
        f" {free_mib} MiB free, outbox and spool may grow by {needed_mib} MiB"
    )
    if free_mib < needed_mib:
        raise EdgeError(f"{found}: too little")
    if facts.f_files and not facts.f_favail:
        raise EdgeError(f"{folder}: no inodes are free")
    return found


def _written_and_read(folder: Path) -> tuple[float, float]:
    """Seconds. Raises EdgeError when other bytes come back."""
    content = os.urandom(WRITTEN)
    handle, name = tempfile.mkstemp(prefix=".check-", dir=folder)
    try:
        begun = time.perf_counter()
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            sync_folder(folder)
            written_s = time.perf_counter() - begun
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that it is the disk that is read
        begun = time.perf_counter()
        if Path(name).read_bytes() != content:
            raise EdgeError(f"{folder}: what was read back is not what was written")
        return written_s, time.perf_counter() - begun
    finally:
        Path(name).unlink()


def _may_grow_mib(site: Site) -> int:
    spool = [path.stat().st_size for path in site.spool_path.rglob("*") if path.is_file()]
    outbox = [path.stat().st_size for path in site.outbox_path.parent.glob(f"{site.outbox_path.name}*")]
    caps = ((site.config.outbox.max_mib, outbox), (site.config.record.max_mib, spool))
    return sum(max(0, cap - sum(sizes) // MIB) for cap, sizes in caps)


def outbox(site: Site, running: bool) -> str:
    """Opened for writing as the core does, which mends it where needed. Beside a `running` core it is only read: the
    core has it open, and says in its status file when it cannot write."""
    if running:
        with contextlib.closing(OutboxReader.open(site.outbox_path)) as reader:
            return f"{site.outbox_path}: {reader.depth()} messages wait; the running core has it open"
    try:
        site.outbox_path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise EdgeError(f"{site.outbox_path.parent}: cannot be made: {exc.strerror}") from exc
    with as_owner_of(site.outbox_path.parent):
        opened = Outbox.open(site.outbox_path, site.config.device, site.config.outbox.max_mib * MIB)
        opened.close()
    return f"{site.outbox_path}, at most {site.config.outbox.max_mib} MiB"


@contextlib.contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """What root makes here, the service could not write: so root acts as the folder's owner, with the units' umask."""
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    before, umask = os.getegid(), os.umask(0o007)
    try:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before)
        os.umask(umask)
