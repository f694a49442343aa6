"""The TUF repository: a folder that any web server, or a stick, serves as it is.

Whoever reads at any moment finds a whole state: each file has a name of its own (consistent snapshots) and is on the
disk before another names it; `timestamp.json` alone is replaced, and last. Metadata name each other by version, not by
digest, so that a signature can be added to a file that is in use (`roots.co_sign`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from edge import durable
from edge.errors import UpdateError
from edge.update.offer import Bundle, Offer, read_offer

SIGNED_AT = "x-endoedge-signed"  # in the timestamp: a box without a clock takes it for the time
DAYS = {"root": 365, "targets": 365, "snapshot": 30, "timestamp": 14}
"""How long each is valid. A box that sees expired metadata keeps running, installs nothing and says so; so `timestamp`
bounds for how long a box can be kept from a newer release unnoticed, and how long a stick can be used. The offline
keys are taken out once a year, with the RAUC certificate: what is never practised fails when a key has to be revoked.
Boxes that were off for years follow the chain of roots: only the last one of it must not have expired."""
SNAPSHOT_EARLY = timedelta(days=15)  # with less than that left, `refresh` signs it, too


class Keys(NamedTuple):
    """Who signs a release. The root keys are no part of it: they are offline."""

    targets: Signer
    snapshot: Signer
    timestamp: Signer


class State(NamedTuple):
    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


# ------------------------------------------------------------------------------------------------ reading


def newest_root(folder: Path) -> Metadata[Root]:
    numbers = [int(path.name.split(".")[0]) for path in (folder / "metadata").glob("[0-9]*.root.json")]
    if not numbers:
        raise UpdateError(f"{folder}: no repository: metadata/1.root.json is not there (tools/release.sh init)")
    return _load(folder, f"{max(numbers)}.root.json", Root)


def read(folder: Path) -> State:
    """The newest of all. Raises UpdateError: no repository, or one whose signatures do not hold."""
    root, found = newest_root(folder), files(folder)
    for role, (name, metadata) in found.items():
        try:
            root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except RepositoryError as exc:
            raise UpdateError(f"{folder}/metadata/{name}: {exc}") from exc
    return State(root, found["timestamp"][1], found["snapshot"][1], found["targets"][1])


def files(folder: Path) -> dict[str, tuple[str, Metadata[Any]]]:
    """Name and content of each role's newest file, whoever signed it."""
    timestamp: Metadata[Timestamp] = _load(folder, "timestamp.json", Timestamp)
    name = f"{timestamp.signed.snapshot_meta.version}.snapshot.json"
    snapshot: Metadata[Snapshot] = _load(folder, name, Snapshot)
    last = f"{snapshot.signed.meta['targets.json'].version}.targets.json"
    targets = _load(folder, last, Targets)
    return {"targets": (last, targets), "snapshot": (name, snapshot), "timestamp": ("timestamp.json", timestamp)}


def offers(folder: Path) -> dict[str, Offer]:
    """By channel."""
    return {offer.channel: offer for offer in _offers(folder, read(folder).targets)}


def _offers(folder: Path, targets: Metadata[Targets]) -> Iterator[Offer]:
    for path, target in sorted(targets.signed.targets.items()):
        file = folder / "targets" / f"{target.hashes['sha256']}.{path}"
        try:
            content = file.read_bytes()
            target.verify_length_and_hashes(content)
        except (OSError, RepositoryError) as exc:
            raise UpdateError(f"{file}: {exc}") from exc
        yield read_offer(content, path)


def _load(folder: Path, name: str, kind: type[Any]) -> Metadata[Any]:
    file = folder / "metadata" / name
    try:
        found: Metadata[Any] = Metadata.from_bytes(file.read_bytes())
    except (OSError, RepositoryError) as exc:
        raise UpdateError(f"{file}: {exc}") from exc
    if not isinstance(found.signed, kind):
        raise UpdateError(f"{file}: expected metadata of {kind.type}, found {found.signed.type}")
    return found


# ------------------------------------------------------------------------------------------------ writing


def create(folder: Path, keys: Keys, at: datetime | None = None) -> None:
    """Targets, snapshot and timestamp that offer nothing. The root is `roots.begin`'s."""
    for name in ("metadata", "targets", "bundles"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with changing(folder):
        if (folder / "metadata" / "timestamp.json").exists():
            raise UpdateError(f"{folder}: a repository is there already")
        at = at or now()
        _put_signed(folder, "1.targets.json", Targets(version=1, expires=_expiry("targets", at)), keys.targets)
        _put_signed(folder, "1.snapshot.json", Snapshot(version=1, expires=_expiry("snapshot", at)), keys.snapshot)
        _put_signed(folder, "timestamp.json", _timestamp(1, 1, at), keys.timestamp)


def publish(folder: Path, offer: Offer, bundle: Path | None, keys: Keys, at: datetime | None = None) -> Offer:
    """Puts the offer into its channel, in the place of the one before. `bundle` is copied to where the offer's URL says
    (`described` makes both of a bundle); None: it lies there, or elsewhere, already. Returns the offer."""
    with changing(folder):
        if bundle is not None:
            _put_bundle(folder, offer.bundle, bundle)
        content = msgspec.json.encode(offer)
        read_offer(content, f"{offer.channel}.json")  # nobody is offered what cannot be read
        target = TargetFile.from_data(f"{offer.channel}.json", content, ["sha256"])
        place(folder / "targets" / f"{target.hashes['sha256']}.{target.path}", lambda file: file.write(content))
        state = read(folder)
        state.targets.signed.targets[target.path] = target
        _put_chain(folder, state, keys, at or now())
    return offer


def withdraw(folder: Path, channel: str, keys: Keys, at: datetime | None = None) -> None:
    """Nothing is offered in that channel any more. Boxes that run it keep it."""
    with changing(folder):
        state = read(folder)
        if state.targets.signed.targets.pop(f"{channel}.json", None) is None:
            raise UpdateError(f"{folder}: nothing is offered in channel {channel}")
        _put_chain(folder, state, keys, at or now())


def refresh(folder: Path, snapshot: Signer, timestamp: Signer, at: datetime | None = None) -> bool:
    """A new timestamp, and a new snapshot where the old one is near its end (true)."""
    with changing(folder):
        state, at = read(folder), at or now()
        due = state.snapshot.signed.expires - at < SNAPSHOT_EARLY
        if due:
            state.snapshot.signed.version += 1
            state.snapshot.signed.expires = _expiry("snapshot", at)
            _put_signed(folder, f"{state.snapshot.signed.version}.snapshot.json", state.snapshot.signed, snapshot)
        number = state.timestamp.signed.version + 1
        _put_signed(folder, "timestamp.json", _timestamp(number, state.snapshot.signed.version, at), timestamp)
        return due


def for_stick(folder: Path, to: Path, snapshot: Signer, timestamp: Signer, *, days: int) -> str:
    """Snapshot and timestamp with a longer life, written to the stick alone; the repository goes on with the numbers
    after them, so that a number never means two things. Within `changing`. Returns the name of the targets' file."""
    state, at = read(folder), now()
    expires = at + timedelta(days=days)
    number, stamp = state.snapshot.signed.version + 1, state.timestamp.signed.version + 1
    for into, ends in ((to, expires), (folder, None)):
        state.snapshot.signed.version, state.snapshot.signed.expires = number, ends or _expiry("snapshot", at)
        _put_signed(into, f"{number}.snapshot.json", state.snapshot.signed, snapshot)
        made = _timestamp(stamp, number, at)
        made.expires = ends or made.expires
        _put_signed(into, "timestamp.json", made, timestamp)
        number, stamp = number + 1, stamp + 1
    return f"{state.targets.signed.version}.targets.json"


def described(bundle: Path, version: str, hardware: str) -> Bundle:
    """As an offer has it: `bundles/VERSION-HARDWARE-SHA16.raucb`."""
    try:
        with bundle.open("rb") as file:
            sha256 = hashlib.sha256()
            while block := file.read(1 << 20):
                sha256.update(block)
            size = file.tell()
    except OSError as exc:
        raise UpdateError(f"{bundle}: {exc.strerror}") from exc
    name = f"{version}-{hardware}-{sha256.hexdigest()[:16]}.raucb"
    return Bundle(url=f"bundles/{name}", size=size, sha256=sha256.hexdigest())


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """One at a time: the daily refresh waits for a publication."""
    try:
        number = os.open(folder / "metadata", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise UpdateError(f"{folder}: no repository: {exc.strerror} (tools/release.sh init)") from exc
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _put_chain(folder: Path, state: State, keys: Keys, at: datetime) -> None:
    """From what is named to what names it."""
    targets, snapshot, timestamp = state.targets.signed, state.snapshot.signed, state.timestamp.signed
    targets.version, targets.expires = targets.version + 1, _expiry("targets", at)
    _put_signed(folder, f"{targets.version}.targets.json", targets, keys.targets)
    snapshot.version, snapshot.expires = snapshot.version + 1, _expiry("snapshot", at)
    snapshot.meta["targets.json"] = MetaFile(version=targets.version)
    _put_signed(folder, f"{snapshot.version}.snapshot.json", snapshot, keys.snapshot)
    _put_signed(folder, "timestamp.json", _timestamp(timestamp.version + 1, snapshot.version, at), keys.timestamp)


def _put_signed(folder: Path, name: str, signed: Any, by: Signer) -> None:
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(by)
    put_metadata(folder, name, metadata)


def put_metadata(folder: Path, name: str, metadata: Metadata[Any]) -> None:
    place(folder / "metadata" / name, lambda file: file.write(metadata.to_bytes()))


def _put_bundle(folder: Path, said: Bundle, bundle: Path) -> None:
    target = folder / said.url
    if not target.resolve().is_relative_to(folder.resolve()):
        raise UpdateError(f"{said.url}: expected a path inside of the repository")
    if not (target.exists() and target.stat().st_size == said.size):
        with bundle.open("rb") as source:
            place(target, lambda file: shutil.copyfileobj(source, file, 1 << 20))


def place(target: Path, fill: Callable[[BinaryIO], object]) -> None:
    """A file that is whole and on the disk when it gets its name. Any web server may read it."""
    scratch = target.with_name(f".{target.name}")
    try:
        with scratch.open("wb") as file:
            fill(file)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        scratch.replace(target)
        durable.sync_folder(target.parent)
    except OSError as exc:
        raise UpdateError(f"{target}: {exc.strerror}") from exc
    finally:
        scratch.unlink(missing_ok=True)


def _timestamp(number: int, snapshot: int, at: datetime) -> Timestamp:
    said = {SIGNED_AT: at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    expires, meta = _expiry("timestamp", at), MetaFile(version=snapshot)
    return Timestamp(version=number, expires=expires, snapshot_meta=meta, unrecognized_fields=said)


def _expiry(role: str, at: datetime) -> datetime:
    return at + timedelta(days=DAYS[role])
