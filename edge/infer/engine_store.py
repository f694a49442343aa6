"""Engines on the disk: TensorRT's plans, each for one model, one TensorRT, one GPU and one power mode.

An engine is two files. The plan carries its own digest in its name; a sidecar, renamed into place last, says which plan
serves a key and which golden vectors it has passed. So a build that is interrupted changes nothing, a new engine
replaces the old one in one step, and whoever has the old one loaded keeps it.

No TensorRT here: files alone. Any process may use the folder; the last one to put an engine under a key wins.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge import clock
from edge.durable import BEGUN, abandoned, write_atomically
from edge.errors import InferenceError
from edge.types import Precision, Struct

log = logging.getLogger(__name__)

MAGIC = 0x74727466  # first u32 of a plan; its TensorRT is at bytes 24 to 27: major, minor, patch, build
HEADER_BYTES = 28
CHOICE = "precision.json"
LEAST_FREE = 64 * 2**20  # bytes that must be left beside an engine: the outbox may share the disk


class Key(Struct, frozen=True, kw_only=True):
    """What an engine was built for. One built for anything else is not used, except for another `power_mode`."""

    model_sha256: str
    precision: Precision
    tensorrt: str  # "10.3.0"
    gpu: str  # name and compute capability
    power_mode: str  # the clocks it was tuned at

    @property
    def stem(self) -> str:
        digest = hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:8]
        return f"{self.model_sha256[:12]}-{self.precision}-trt{_slug(self.tensorrt)}-{_slug(self.gpu)}-{digest}"

    def __str__(self) -> str:
        mode = f", power mode {self.power_mode}"
        return f"{self.precision} {self.model_sha256[:12]}…, TensorRT {self.tensorrt}, {self.gpu}{mode}"


class Sidecar(Struct, frozen=True, kw_only=True):
    """`STEM.json`, beside the plan that it names."""

    key: Key
    plan: str
    sha256: str
    size: int  # bytes
    build_s: float
    golden_sha256: str  # the vectors whose answers it gave


class Choice(Struct, frozen=True, kw_only=True):
    """`precision.json`: which precision an audit found to be the better one here, and why."""

    precision: Precision
    why: str
    measured: str  # the engine it was compared on, for people


class Engine(NamedTuple):
    plan: bytes
    sidecar: Sidecar
    exact: bool  # False: built at another power mode, so it is right but may be slower


class EngineStore:
    """A folder of engines, `limit` bytes at most: the one that was not used for longest goes first."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self._limit = limit

    def load(self, key: Key, golden_sha256: str) -> Engine:
        """The newest engine of the key, else the newest of another power mode. Its use is noted.

        `golden_sha256`: the release's vectors; an engine that has not passed these is not used.

        Raises InferenceError: there is none, and what is wrong with those that looked like it.
        """
        faults: list[str] = []
        for sidecar in sorted(self._sidecars(faults), key=lambda s: s.key != key):
            if msgspec.structs.replace(sidecar.key, power_mode=key.power_mode) != key:
                continue
            path = self.folder / sidecar.plan
            if sidecar.golden_sha256 != golden_sha256:
                faults.append(f"{path.name} has not passed this release's golden vectors")
                continue
            try:
                plan = path.read_bytes()
            except OSError as exc:
                faults.append(f"{path.name} cannot be read: {exc.strerror}")
                continue
            if fault := _plan_fault(plan, sidecar):
                faults.append(f"{path.name} {fault}")
                continue
            with contextlib.suppress(OSError):  # a read-only folder serves as well
                self._is_newest(path)
            if sidecar.key != key:
                log.warning(
                    "engine of power mode %s is used at %s: build one with `endoedge model build`",
                    sidecar.key.power_mode,
                    key.power_mode,
                )
            return Engine(plan, sidecar, sidecar.key == key)
        why = f" ({'; '.join(faults)})" if faults else ""
        raise InferenceError(f"{self.folder}: no engine for {key}{why}; `endoedge model build` makes one, in minutes")

    def require_room(self, size: int) -> None:
        """Before a build of minutes. Raises InferenceError: `size` bytes cannot be written to the folder."""
        if size > self._limit:
            raise InferenceError(f"{self.folder}: an engine of {_mib(size)} is more than cache_mib allows")
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
            free = shutil.disk_usage(self.folder).free
        if free < size + LEAST_FREE:
            raise InferenceError(
                f"{self.folder}: {_mib(free)} are free on its disk, an engine needs {_mib(size + LEAST_FREE)}"
            )

    def put(self, key: Key, plan: bytes, *, build_s: float, golden_sha256: str) -> Sidecar:
        """Make this the key's engine. `golden_sha256`: the golden vectors that it has answered as it should.

        Raises InferenceError when it is no plan of the key's TensorRT, or cannot be written; the old one stays.
        """
        sha256 = hashlib.sha256(plan).hexdigest()
        sidecar = Sidecar(
            key=key,
            plan=f"{key.stem}.{sha256[:12]}.plan",
            sha256=sha256,
            size=len(plan),
            build_s=round(build_s, 1),
            golden_sha256=golden_sha256,
        )
        if fault := _plan_fault(plan, sidecar):
            raise InferenceError(f"the engine for {key} {fault}: not kept")
        self.require_room(len(plan))
        self._make_room(len(plan), keep=sidecar)
        with self._writing():
            write_atomically(self.folder / sidecar.plan, plan)
            write_atomically(self._sidecar_path(key), msgspec.json.format(msgspec.json.encode(sidecar)))
            for path in (self.folder / sidecar.plan, self._sidecar_path(key)):
                self._is_newest(path)
        self._remove_strays()
        return sidecar

    def choice(self) -> Choice | None:
        """What an audit chose on this box; None: nothing yet, or nothing that can be read."""
        try:
            return msgspec.json.decode((self.folder / CHOICE).read_bytes(), type=Choice)
        except (OSError, msgspec.DecodeError):
            return None

    def put_choice(self, choice: Choice) -> None:
        """From the next start on. Raises InferenceError: it cannot be written."""
        with self._writing():
            write_atomically(self.folder / CHOICE, msgspec.json.encode(choice))

    def timing_cache(self, key: Key) -> bytes:
        """What earlier builds on this GPU measured; b"" when there is nothing."""
        try:
            return self._timing_path(key).read_bytes()
        except OSError:
            return b""

    def put_timing_cache(self, key: Key, content: bytes) -> None:
        """It only saves time: when it cannot be kept, that is said and nothing else."""
        try:
            write_atomically(self._timing_path(key), content)
        except OSError as exc:
            log.warning("%s: the timing cache is not kept: %s", self.folder, exc.strerror)

    def _timing_path(self, key: Key) -> Path:
        return self.folder / f"timing-trt{_slug(key.tensorrt)}-{_slug(key.gpu)}.cache"

    def _sidecar_path(self, key: Key) -> Path:
        return self.folder / f"{key.stem}.json"

    def _sidecars(self, faults: list[str]) -> Iterator[Sidecar]:
        """Newest first; unreadable ones are left out and told of."""
        try:
            found = sorted(self.folder.glob("*.json"), key=_date_ns, reverse=True)
        except OSError as exc:
            faults.append(f"the folder cannot be read: {exc.strerror}")
            return
        for path in found:
            if path.name == CHOICE:
                continue
            try:
                yield msgspec.json.decode(path.read_bytes(), type=Sidecar)
            except OSError as exc:
                faults.append(f"{path.name} cannot be read: {exc.strerror}")
            except msgspec.DecodeError as exc:
                faults.append(f"{path.name} is not what we write: {exc}")

    def _make_room(self, size: int, keep: Sidecar) -> None:
        """Engines go, longest unused first, until `size` more bytes are within the limit. The key's own stays."""
        mine = self._sidecar_path(keep.key)
        found = [s for s in self._sidecars([]) if self._sidecar_path(s.key) != mine]
        found.sort(key=lambda s: _date_ns(self.folder / s.plan))
        total = sum(s.size for s in found) + size
        for oldest in found:
            if total <= self._limit:
                return
            log.info("%s: %s makes room, unused for longest", self.folder, oldest.plan)
            with self._writing():
                self._sidecar_path(oldest.key).unlink(missing_ok=True)
                (self.folder / oldest.plan).unlink(missing_ok=True)
            total -= oldest.size

    def _remove_strays(self) -> None:
        """Plans that no sidecar names, and what a killed build had begun to write. None while a sidecar cannot be
        read: it may be the one that names a plan."""
        faults: list[str] = []
        named = {sidecar.plan for sidecar in self._sidecars(faults)}
        with contextlib.suppress(OSError):  # the next one tries again
            plans = [] if faults else [path for path in self.folder.glob("*.plan") if path.name not in named]
            begun = list(filter(abandoned, self.folder.glob(f"{BEGUN}*")))
            for path in plans + begun:
                path.unlink(missing_ok=True)

    def _is_newest(self, path: Path) -> None:
        """From now on, and also on a box whose clock was set back. Raises OSError."""
        date_ns = clock.date_after(max(map(_date_ns, self.folder.iterdir()), default=0))
        os.utime(path, ns=(date_ns, date_ns))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            full = " (free disk space, or set [infer] cache_dir elsewhere)" if exc.errno == errno.ENOSPC else ""
            raise InferenceError(f"{self.folder}: engines cannot be kept here: {exc.strerror}{full}") from exc


def plan_version(plan: bytes) -> str | None:
    """The TensorRT that wrote a plan, from its header ("10.3.0"); None: it is no plan."""
    if len(plan) < HEADER_BYTES or struct.unpack_from("<I", plan)[0] != MAGIC:
        return None
    return ".".join(str(number) for number in plan[24:27])


def _plan_fault(plan: bytes, sidecar: Sidecar) -> str:
    """Why these bytes are not the engine that the sidecar speaks of; "" when they are."""
    if hashlib.sha256(plan).hexdigest() != sidecar.sha256:
        return f"is damaged: its sha256 is not {sidecar.sha256[:12]}…"
    version = plan_version(plan)
    if version is None:
        return "is no TensorRT plan"
    wanted = ".".join(sidecar.key.tensorrt.split(".")[:3])
    return "" if version == wanted else f"was written by TensorRT {version}, this is {wanted}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def _date_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
