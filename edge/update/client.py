"""Which offer is current, as TUF says it (python-tuf), and its bundle.

What a repository says is taken as a whole or not at all (`edge/update/sets.py`). Of a check that fails the roots alone
are kept, where they were signed in their order: a key that was revoked is revoked from then on, whatever else an
attacker holds back.

UpdateError's `code`, and what it means for whoever asked:

    unreachable  slow  stopped             nothing is known to be wrong: again later
    absent                                 no such channel, or no repository at that address
    expired                                nobody has signed for too long, or the clock is wrong; what runs goes on
    rollback  mixed  signature  too_long  malformed  bundle    what came is not what was signed, or is older: refused
    disk                                   this box's own
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import msgspec
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge.errors import UpdateError
from edge.types import Struct
from edge.update.download import fetch_bundle, remove_all, whole_bundle
from edge.update.fetch import Source, open_place, open_source
from edge.update.offer import OFFER_MOST, Offer, read_offer
from edge.update.sets import Sets
from edge.update.web import Limit

CHECK = Limit(seconds=60.0)
BUNDLE = Limit(seconds=30.0, quota=120 << 10)  # 4 KiB/s
SIGNED = "x-endoedge-signed"  # in timestamp.json's signed part: when that was
_KIB = 1 << 10
_CONFIG = UpdaterConfig(
    max_root_rotations=256,  # since the root that was installed; each is signed by the one before it
    max_delegations=0,
    root_max_length=16 * _KIB,
    timestamp_max_length=4 * _KIB,
    snapshot_max_length=4 * _KIB,
    targets_max_length=16 * _KIB,
)
_MOST = 16 * _KIB  # of any file of it, whatever length another one has signed for
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PIECE = 16 * _KIB
_ROOTS = "metadata/root_history"
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
Part = TypeVar("Part", Root, Timestamp, Snapshot, Targets)


class Checked(Struct, frozen=True, kw_only=True):
    """Times: RFC 3339, UTC."""

    offer: Offer
    bytes: int  # that came: metadata, offer, and pages that said that there is no newer root
    signed_at: str  # the newest time at which what was seen here was signed; it goes back with a revoked key alone
    expires_at: str  # the first of the chain's


class _Seen(Struct, frozen=True, kw_only=True):
    """`SET/seen.json`. A time counts as long as all that may have signed it are still among the timestamp's keys: who
    stole one could otherwise set a box's time to a year for good."""

    signed_at: datetime
    keys: tuple[str, ...]


class Client:
    """One owner. Raises UpdateError."""

    def __init__(self, folder: Path, root: bytes, built_at: datetime, ca: Path | None = None) -> None:
        """`folder`: of `tuf` and `download`. `root`: TUF's, as it was installed. `built_at`: when this release was.
        `ca`: PEM, of https addresses, instead of the system's authorities."""
        self._sets, self._downloads = Sets(folder / "tuf"), folder / "download"
        self._folder, self._root, self._built_at, self._ca = folder, root, built_at, ca

    def check(self, base: str, channel: str, now: datetime | None) -> Checked:
        """What the channel offers now. `base`: https://host/folder, or a folder. `now`: None where the clock is not
        trusted: then it is as late as what was signed, and as this release, at least."""
        name = _target(channel)
        try:
            with open_source(base, self._ca, CHECK) as source:
                return self._check(_Fetcher(source), name, now)
        except OSError as exc:
            raise UpdateError(f"{self._folder}: {exc.strerror or exc}", "disk") from exc

    def known(self, channel: str) -> Offer | None:
        """What the channel offered when it was last seen, for after a restart: signed by keys that are still good, as
        far as this box knows. Whether it has expired since is not asked: to keep on with it is safe, and `check`
        says it."""
        name = _target(channel)
        try:
            folder = self._sets.current()
            if folder is None:
                return None
            held, content = _held(folder, Targets), (folder / "offers" / name).read_bytes()
            _newest_root(self._root, folder).verify_delegate("targets", held.signed_bytes, held.signatures)
            held.signed.targets[name].verify_length_and_hashes(content)
            return read_offer(content, name)
        except (OSError, RepositoryError, KeyError, ValueError, UpdateError):
            return None

    def download(
        self, offer: Offer, base: str, tell: Callable[[int, int], None], stop: Callable[[], bool] = lambda: False
    ) -> Path:
        """The bundle, whole and verified. It goes on where it was cut; `tell`: bytes that are there, of all."""
        source, name = open_place(base, offer.bundle.url, self._ca, BUNDLE)
        with source:
            return fetch_bundle(self._downloads, offer.bundle, source, name, tell, stop)

    def bundle(self, offer: Offer) -> Path | None:
        """That was fetched; None: it is not here."""
        whole = whole_bundle(self._downloads, offer.bundle)
        return whole if whole.is_file() else None

    def tidy(self) -> None:
        """No bundle is needed any more."""
        with contextlib.suppress(OSError):
            remove_all(self._downloads)

    def _check(self, fetcher: _Fetcher, name: str, now: datetime | None) -> Checked:
        work = self._sets.begin()
        try:
            found = self._refresh(fetcher, work, name, now)
        except UpdateError:
            self._keep_roots(work)
            raise
        self._sets.commit(work)
        if found is None:
            words = f"{fetcher.base}: it has no channel {name.removesuffix('.json')}: see [update] channel"
            raise UpdateError(words, "absent")
        return found

    def _refresh(self, fetcher: _Fetcher, work: Path, name: str, now: datetime | None) -> Checked | None:
        """Brings the set up to date. None: no such channel."""
        metadata, offer_file = work / "metadata", work / "offers" / name
        metadata.mkdir(exist_ok=True)
        seen = self._seen(work)
        reference = now or max(filter(None, (seen, self._built_at)))
        with _in_plain_words(fetcher, reference):
            updater = Updater(
                str(metadata), "metadata", None, "targets", fetcher=fetcher, config=_CONFIG, bootstrap=self._root
            )
            updater._trusted_set.reference_time = reference  # there is no other way to tell it the time
            updater.refresh()
            target = updater.get_targetinfo(name)
            chain = _Chain.read(work)
            newest = max(filter(None, (seen, chain.signed_at)))
            if chain.expires_at <= max(reference, newest):
                words = f"it expired at {_text(chain.expires_at)}, and says itself that it is {_text(newest)}"
                raise ExpiredMetadataError(words)
            if target is None:
                offer_file.unlink(missing_ok=True)
            elif target.length > OFFER_MOST:
                raise UpdateError(f"{name}: {target.length} bytes, expected at most {OFFER_MOST}", "too_long")
            elif updater.find_cached_target(target, str(offer_file)) is None:
                updater.download_target(target, str(offer_file))
        kept = _Seen(signed_at=newest, keys=tuple(sorted(chain.keys)))
        (work / "seen.json").write_bytes(msgspec.json.encode(kept))
        if target is None:
            return None
        return Checked(
            offer=_offer(offer_file.read_bytes(), name),
            bytes=fetcher.bytes,
            signed_at=_text(newest),
            expires_at=_text(chain.expires_at),
        )

    def _seen(self, folder: Path) -> datetime | None:
        """The newest time that counts."""
        try:
            seen = msgspec.json.decode((folder / "seen.json").read_bytes(), type=_Seen)
            good = _newest_root(self._root, folder).roles["timestamp"].keyids
        except (OSError, msgspec.DecodeError, RepositoryError):
            return None
        return seen.signed_at if set(seen.keys) <= set(good) else None

    def _keep_roots(self, work: Path) -> None:
        """python-tuf lays down none that is not signed by the one before it."""
        with contextlib.suppress(OSError):
            roots = {path.name: path.read_bytes() for path in (work / _ROOTS).iterdir()}
            fresh = self._sets.begin()
            (fresh / _ROOTS).mkdir(parents=True, exist_ok=True)
            for name, content in roots.items():
                (fresh / _ROOTS / name).write_bytes(content)
            self._sets.commit(fresh)


class _Fetcher(FetcherInterface):
    """python-tuf's hands. Its own ones put everything through a file in TMPDIR; these files are small."""

    def __init__(self, source: Source) -> None:
        self.bytes, self.base, self.asked = 0, source.base, ""
        self._source = source

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.asked = url
        try:
            stream = self._source.open(url)
        except UpdateError as exc:
            if exc.code == "absent":
                raise DownloadHTTPError(str(exc), 404) from exc  # of a newer root: there is none
            raise
        with contextlib.closing(stream):
            while piece := stream.read(_PIECE):
                self.bytes += len(piece)
                yield piece

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        most, content = min(max_length, _MOST), bytearray()
        for piece in self._fetch(url):
            content += piece
            if len(content) > most:
                words = f"{self.base}/{url}: it goes on after {most} bytes, which is all that may be: refused"
                raise UpdateError(words, "too_long")
        yield io.BytesIO(content)


# -------------------------------------------------------------------------------------- what is held


class _Chain(NamedTuple):
    """What matters of a set that was just verified."""

    signed_at: datetime
    expires_at: datetime
    keys: frozenset[str]

    @classmethod
    def read(cls, work: Path) -> _Chain:
        root, timestamp = _held(work, Root).signed, _held(work, Timestamp).signed
        parts = (root, timestamp, _held(work, Snapshot).signed, _held(work, Targets).signed)
        said = timestamp.unrecognized_fields.get(SIGNED)
        if not (isinstance(said, str) and _UTC.fullmatch(said)):
            raise DeserializationError(f"timestamp.json does not say when it was signed ({SIGNED})")
        signed_at = datetime.fromisoformat(f"{said[:19]}+00:00")
        return cls(signed_at, min(part.expires for part in parts), frozenset(root.roles["timestamp"].keyids))


def _held(folder: Path, kind: type[Part]) -> Metadata[Part]:
    """Raises OSError, RepositoryError."""
    return _signed((folder / "metadata" / f"{kind.type}.json").read_bytes(), kind)


def _signed(content: bytes, kind: type[Part]) -> Metadata[Part]:
    found: Metadata[Part] = Metadata.from_bytes(content)
    if not isinstance(found.signed, kind):
        raise DeserializationError(f"{found.signed.type}, expected {kind.type}")
    return found


def _newest_root(root: bytes, folder: Path) -> Root:
    """The last of the chain that begins with the one that was installed. Raises RepositoryError: that one is none."""
    newest = _signed(root, Root).signed
    while True:
        version = newest.version + 1
        try:
            held = _signed((folder / _ROOTS / f"{version}.root.json").read_bytes(), Root)
            for by in (newest, held.signed):
                by.verify_delegate("root", held.signed_bytes, held.signatures)
        except (OSError, RepositoryError):
            return newest
        if held.signed.version != version:
            return newest
        newest = held.signed


def _target(channel: str) -> str:
    if not _CHANNEL.fullmatch(channel):
        raise UpdateError(f"channel {channel[:64]!r}: expected a name such as stable", "absent")
    return f"{channel}.json"


def _offer(content: bytes, name: str) -> Offer:
    try:
        return read_offer(content, name)
    except UpdateError as exc:
        raise UpdateError(f"{exc} (it is signed: whoever published it has to publish it anew)", "malformed") from exc


def _text(at: datetime) -> str:
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# ----------------------------------------------------------------------------------- what went wrong


@contextlib.contextmanager
def _in_plain_words(fetcher: _Fetcher, reference: datetime) -> Iterator[None]:
    try:
        yield
    except DownloadHTTPError as exc:
        if fetcher.asked.endswith("/timestamp.json"):
            raise UpdateError(f"{exc}: no update repository at this address", "absent") from exc
        words = f"{exc}: the repository is not whole; perhaps it is being published: it is tried again"
        raise UpdateError(words, "unreachable") from exc
    except (RepositoryError, ValueError) as exc:
        if not fetcher.asked:
            raise UpdateError(
                f"the root metadata that was installed: {exc}: install root.json anew", "malformed"
            ) from exc
        code, rule = _rule(exc, fetcher.asked)
        if code == "expired":
            words = f"{fetcher.base}: {exc} (the time taken is {_text(reference)}): {rule}"
        else:
            words = f"{fetcher.base}/{fetcher.asked}: {exc}: {rule}: refused"
        raise UpdateError(words, code) from exc


def _rule(exc: Exception, asked: str) -> tuple[str, str]:
    """The code, and the rule that was broken."""
    role, said = asked.removesuffix(".json").rpartition(".")[2].rpartition("/")[2], str(exc)
    match exc:
        case ExpiredMetadataError():
            return "expired", "nobody has signed for too long, or this box's clock is wrong; what runs goes on"
        case UnsignedMetadataError():
            return "signature", "not signed by enough of the keys that this box trusts"
        case LengthOrHashMismatchError():
            return "mixed", "another file than the one that was signed for with the others"
        case BadVersionNumberError() if role == "targets" or said.startswith("Expected snapshot version"):
            return "mixed", "another version than was signed for with the others"
        case BadVersionNumberError() if role == "root":
            return "rollback", "roots follow each other one by one"
        case BadVersionNumberError():
            return "rollback", "older than what this box has seen (an old copy, or an old stick?)"
        case RepositoryError() if "missing info" in said:
            return "rollback", "something that was signed for before is left out"
    return "malformed", "no metadata of an update repository (a network's sign-in page, perhaps)"
