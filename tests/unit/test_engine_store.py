"""Engines on the disk: what is found, what is refused and why, and that a failed write changes nothing."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.errors import InferenceError
from edge.infer import engine_store
from edge.infer.engine_store import MAGIC, Choice, EngineStore, Key

KEY = Key(model_sha256="ab" * 32, precision="int8_trt", tensorrt="10.3.0", gpu="Orin sm87", power_mode="pmode:0000")
MIB = 2**20
GOLDEN = "cd" * 32


def plan(content: bytes = b"x" * 100, version: tuple[int, int, int, int] = (10, 3, 0, 26)) -> bytes:
    return struct.pack("<6I4B", MAGIC, 0, 0, 0, 0, 0, *version) + content


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines", 4 * MIB)


def put(store: EngineStore, key: Key = KEY, content: bytes = b"x" * 100) -> Path:
    return store.folder / store.put(key, plan(content), build_s=1.25, golden_sha256=GOLDEN).plan


def other(**changes: Any) -> Key:
    return msgspec.structs.replace(KEY, **changes)


def test_what_was_put_is_found(store: EngineStore) -> None:
    put(store)
    engine = store.load(KEY, GOLDEN)
    assert engine.plan == plan()
    assert engine.exact
    assert (engine.sidecar.build_s, engine.sidecar.golden_sha256) == (1.2, GOLDEN)


@pytest.mark.parametrize(
    "key",
    [
        other(model_sha256="ba" * 32),
        other(precision="fp16_trt"),
        other(tensorrt="10.3.1"),
        other(gpu="Orin NX sm87"),
    ],
)
def test_an_engine_for_anything_else_is_not_found(key: Key, store: EngineStore) -> None:
    put(store)
    with pytest.raises(InferenceError, match=r"no engine for .*`endoedge model build` makes one"):
        store.load(key, GOLDEN)


def test_another_power_mode_serves_until_there_is_a_better_one(
    store: EngineStore, caplog: pytest.LogCaptureFixture
) -> None:
    slow = other(power_mode="pmode:0002")
    put(store, slow, b"slow")
    engine = store.load(KEY, GOLDEN)
    assert (engine.plan, engine.exact) == (plan(b"slow"), False)
    assert "engine of power mode pmode:0002 is used at pmode:0000" in caplog.text
    put(store, KEY, b"fast")
    assert store.load(KEY, GOLDEN).plan == plan(b"fast")
    assert store.load(slow, GOLDEN).plan == plan(b"slow")


def test_a_new_engine_replaces_the_old_one_and_its_file(store: EngineStore) -> None:
    old, new = put(store, content=b"old"), put(store, content=b"new")
    assert store.load(KEY, GOLDEN).plan == plan(b"new")
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "is damaged: its sha256 is not"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
    ],
)
def test_a_damaged_engine_is_refused_with_the_reason(spoil: Any, why: str, store: EngineStore) -> None:
    path = put(store)
    spoil(path)
    with pytest.raises(InferenceError, match=rf"no engine for .*{path.name} {why}"):
        store.load(KEY, GOLDEN)
    put(store)
    assert store.load(KEY, GOLDEN).exact


@pytest.mark.parametrize("content", [b"", b"{", b'{"plan": 3}', b"\xff\xfe"])
def test_a_foreign_sidecar_is_said_and_in_nobody_s_way(content: bytes, store: EngineStore) -> None:
    path = put(store)
    (store.folder / f"{KEY.stem}.json").write_bytes(content)
    with pytest.raises(InferenceError, match="is not what we write"):
        store.load(KEY, GOLDEN)
    assert put(store) == path
    assert store.load(KEY, GOLDEN).exact


def test_foreign_plans_are_not_put(store: EngineStore) -> None:
    put(store)
    for content, why in (
        (b"no plan at all" * 9, "is no TensorRT plan"),
        (plan(version=(8, 6, 1, 6)), "TensorRT 8.6.1"),
    ):
        with pytest.raises(InferenceError, match=why):
            store.put(KEY, content, build_s=1, golden_sha256="")
    assert store.load(KEY, GOLDEN).plan == plan()


def test_a_header_that_belies_its_sidecar_is_not_used(store: EngineStore) -> None:
    """A plan copied from another machine, with a sidecar written by hand."""
    path = put(store)
    foreign = plan(version=(10, 16, 1, 11))
    path.write_bytes(foreign)
    sidecar = store.folder / f"{KEY.stem}.json"
    said = msgspec.json.decode(sidecar.read_bytes())
    said["sha256"] = engine_store.hashlib.sha256(foreign).hexdigest()
    sidecar.write_bytes(msgspec.json.encode(said))
    with pytest.raises(InferenceError, match=r"was written by TensorRT 10\.16\.1, this is 10\.3\.0"):
        store.load(KEY, GOLDEN)


def test_the_one_unused_for_longest_makes_room(store: EngineStore) -> None:
    keys = [other(gpu=f"GPU {number}") for number in range(4)]
    for age, key in enumerate(keys[:3]):
        os.utime(put(store, key, bytes([age]) * MIB), (1e9 + age, 1e9 + age))
    store.load(keys[0], GOLDEN)  # used now: the second is the oldest
    put(store, keys[3], b"3" * MIB)
    for key, kept in zip(keys, (True, False, True, True), strict=True):
        if kept:
            store.load(key, GOLDEN)
        else:
            with pytest.raises(InferenceError, match="no engine for"):
                store.load(key, GOLDEN)
    assert sum(path.stat().st_size for path in store.folder.glob("*.plan")) <= 4 * MIB


def test_what_was_used_last_stays_after_the_clock_was_set_back(store: EngineStore) -> None:
    """Its date says 2001 then, or one that lies ahead of all that is written now."""
    ahead = time.time() + 1e8
    keys = [other(gpu=f"GPU {number}") for number in range(4)]
    for age, key in enumerate(keys[:3]):
        os.utime(put(store, key, bytes([age]) * MIB), (ahead + age, ahead + age))
    store.load(keys[0], GOLDEN)
    put(store, keys[3], b"3" * MIB)
    store.load(keys[0], GOLDEN)
    with pytest.raises(InferenceError, match="no engine for"):
        store.load(keys[1], GOLDEN)


def test_an_engine_beyond_the_limit_is_refused_before_it_is_built(store: EngineStore) -> None:
    with pytest.raises(InferenceError, match="an engine of 5 MiB is more than cache_mib allows"):
        store.require_room(5 * MIB)


def test_a_full_disk_is_said_before_the_build(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(engine_store.shutil, "disk_usage", lambda folder: usage(100 * MIB, 97 * MIB, 3 * MIB))
    with pytest.raises(InferenceError, match="3 MiB are free on its disk, an engine needs 65 MiB"):
        store.require_room(MIB)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_engine(
    failing: str, store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, content=b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os if failing == "fsync" else Path, failing, full)
        with pytest.raises(InferenceError, match=r"engines cannot be kept here: No space left on device.*set .infer"):
            put(store, content=b"new")
    assert store.load(KEY, GOLDEN).plan == plan(b"old")
    assert list(store.folder.glob(".new-*")) == []


def test_a_crash_between_plan_and_sidecar_leaves_the_old_engine(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, content=b"old")
    whole = engine_store.write_atomically

    def dies_at_the_sidecar(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(engine_store, "write_atomically", dies_at_the_sidecar)
        with pytest.raises(KeyboardInterrupt):
            put(store, content=b"new")
    assert store.load(KEY, GOLDEN).plan == plan(b"old")
    put(store, content=b"newer")
    assert len(list(store.folder.glob("*.plan"))) == 1  # and the stray of the crash is gone


def test_what_a_killed_build_had_begun_is_removed_later(store: EngineStore) -> None:
    put(store)
    gone = subprocess.Popen(["true"])
    gone.wait()
    strays = [store.folder / f".new-{gone.pid}-abc", store.folder / ".new-no-number"]
    living = [store.folder / f".new-{number}-abc" for number in (1, os.getpid())]
    for path in (*strays, *living):
        path.write_bytes(b"half")
        os.utime(path, (1e9, 1e9))
    put(store)
    assert [path.exists() for path in (*strays, *living)] == [False, False, True, True]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InferenceError, match="engines cannot be kept here: Not a directory"):
        EngineStore(tmp_path / "file" / "engines", MIB).require_room(1)


def test_a_folder_that_is_not_there_has_no_engines(store: EngineStore) -> None:
    with pytest.raises(InferenceError, match="no engine for"):
        store.load(KEY, GOLDEN)
    assert store.timing_cache(KEY) == b""


def test_timings_are_kept_by_gpu_and_tensorrt_and_never_fail_a_build(
    store: EngineStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store)
    store.put_timing_cache(KEY, b"timed")
    assert store.timing_cache(other(model_sha256="00" * 32, power_mode="x")) == b"timed"
    assert store.timing_cache(other(gpu="another")) == b""
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only file system")))
    store.put_timing_cache(KEY, b"newer")
    assert "the timing cache is not kept: Read-only file system" in caplog.text
    assert store.timing_cache(KEY) == b"timed"


def test_a_plan_s_header_says_its_tensorrt() -> None:
    assert engine_store.plan_version(plan(version=(11, 4, 0, 106))) == "11.4.0"
    assert engine_store.plan_version(b"ftrt") is None
    assert engine_store.plan_version(b"\0" * 64) is None


def test_an_engine_that_has_not_passed_this_release_s_vectors_is_not_used(store: EngineStore) -> None:
    put(store)
    with pytest.raises(InferenceError, match="has not passed this release's golden vectors"):
        store.load(KEY, "ef" * 32)


def test_a_choice_is_kept_beside_the_engines(store: EngineStore) -> None:
    assert store.choice() is None
    put(store)
    choice = Choice(precision="fp16_trt", why="INT8 is not faster", measured="green 1")
    store.put_choice(choice)
    assert store.choice() == choice
    assert store.load(KEY, GOLDEN).exact  # and is no engine's sidecar
    (store.folder / engine_store.CHOICE).write_text("{")
    assert store.choice() is None


def test_a_sidecar_that_cannot_be_read_now_does_not_cost_its_plan(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine takes minutes to build; the disk may only have hiccuped."""
    theirs = put(store, other(gpu="Orin NX sm87"))
    put(store)
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name.startswith(other(gpu="Orin NX sm87").stem):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path)

    with monkeypatch.context() as failing:
        failing.setattr(Path, "read_bytes", read)
        put(store, content=b"y" * 100)
    assert theirs.exists()
    assert store.load(other(gpu="Orin NX sm87"), GOLDEN).exact


def test_a_folder_that_cannot_be_read_is_said(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)

    def glob(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "glob", glob)
    with pytest.raises(InferenceError, match="the folder cannot be read: Input/output error"):
        store.load(KEY, GOLDEN)
    store.put(KEY, plan(b"z" * 100), build_s=1.0, golden_sha256=GOLDEN)
    monkeypatch.undo()
    assert store.load(KEY, GOLDEN).plan == plan(b"z" * 100)
