"""A repository made by tools/release, as python-tuf's own client reads it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import pytest
from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError, UnsignedMetadataError
from tuf.api.metadata import Metadata
from tuf.ngclient import FetcherInterface, Updater

from edge.errors import UpdateError
from edge.update.offer import Offer, read_offer
from tools.release import repository, roots, signers
from tools.release.signers import KeySigner

HARDWARE = "endoedge-x86_64-debian12"
CHECK_MOST = 20_000  # bytes


class Made(NamedTuple):
    folder: Path
    keys: repository.Keys
    roots: list[KeySigner]
    bundles: Path

    def offer(self, version: str, **said: object) -> tuple[Offer, Path]:
        bundle = self.bundles / f"{version}.raucb"
        bundle.write_bytes(f"the bundle of {version}".encode() * 1000)
        described = repository.described(bundle, version, HARDWARE)
        return Offer(version=version, channel="stable", hardware=(HARDWARE,), bundle=described, **said), bundle  # type: ignore[arg-type]

    def publish(self, version: str, **said: object) -> Offer:
        return repository.publish(self.folder, *self.offer(version, **said), self.keys)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Two of three root keys sign."""
    folder, keys = tmp_path / "repository", repository.Keys(*(signers.generated() for _ in range(3)))
    by = [signers.generated() for _ in range(3)]
    repository.create(folder, keys)
    draft = roots.begin([one.public_key for one in by], 2, others(keys))
    assert roots.sign(folder, draft, by[:2]) == []
    (tmp_path / "bundles").mkdir()
    return Made(folder, keys, by, tmp_path / "bundles")


def others(keys: repository.Keys) -> dict[roots.Role, signers.SSlibKey]:
    return {
        "targets": keys.targets.public_key,
        "snapshot": keys.snapshot.public_key,
        "timestamp": keys.timestamp.public_key,
    }


class Reader(FetcherInterface):
    """A box's client, and how much it fetched."""

    def __init__(self, folder: Path, kept: Path) -> None:
        super().__init__()
        self.folder, self.kept, self.bytes = folder, kept, 0
        kept.mkdir(exist_ok=True)
        self.root = (folder / "metadata" / "1.root.json").read_bytes()

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            content = Path(url).read_bytes()
        except FileNotFoundError as exc:
            raise DownloadHTTPError(url, 404) from exc
        self.bytes += len(content)
        yield content

    def updater(self) -> Updater:
        base = str(self.folder)
        return Updater(
            str(self.kept), f"{base}/metadata/", str(self.kept), f"{base}/targets/", fetcher=self, bootstrap=self.root
        )

    def offer(self, channel: str = "stable") -> Offer | None:
        client = self.updater()
        client.refresh()
        target = client.get_targetinfo(f"{channel}.json")
        if target is None:
            return None
        return read_offer(Path(client.download_target(target)).read_bytes(), f"{channel}.json")


@pytest.fixture
def reader(made: Made, tmp_path: Path) -> Reader:
    return Reader(made.folder, tmp_path / "kept")


def test_a_box_reads_what_is_published(made: Made, reader: Reader) -> None:
    assert reader.offer() is None
    offer = made.publish("1.2.0", share=0.1, clinical="Finds more.")
    assert reader.offer() == offer == repository.offers(made.folder)["stable"]
    bundle = made.folder / offer.bundle.url
    assert bundle.read_bytes() == (made.bundles / "1.2.0.raucb").read_bytes()
    assert offer.bundle.url == f"bundles/1.2.0-{HARDWARE}-{offer.bundle.sha256[:16]}.raucb"


def test_a_check_is_small(made: Made, reader: Reader) -> None:
    made.publish("1.2.0", changes="x" * 2000, clinical="y" * 2000)
    reader.offer()
    assert reader.bytes <= CHECK_MOST
    made.publish("1.2.1")
    reader.bytes = 0
    reader.offer()
    assert reader.bytes <= CHECK_MOST


def test_channels_are_beside_each_other(made: Made, reader: Reader) -> None:
    stable = made.publish("1.2.0")
    beta, bundle = made.offer("1.3.0")
    beta = repository.publish(made.folder, replaced(beta, channel="beta"), bundle, made.keys)
    assert (reader.offer("stable"), reader.offer("beta")) == (stable, beta)


def replaced(offer: Offer, **said: object) -> Offer:
    return msgspec.structs.replace(offer, **said)


def test_what_is_withdrawn_is_offered_no_more(made: Made, reader: Reader) -> None:
    made.publish("1.2.0")
    assert reader.offer() is not None
    repository.withdraw(made.folder, "stable", made.keys)
    assert reader.offer() is None
    with pytest.raises(UpdateError, match="nothing is offered in channel stable"):
        repository.withdraw(made.folder, "stable", made.keys)


def test_the_time_of_signing_is_said(made: Made) -> None:
    at = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    repository.refresh(made.folder, made.keys.snapshot, made.keys.timestamp, at)
    said = json.loads((made.folder / "metadata" / "timestamp.json").read_text())["signed"]
    assert said["x-endoedge-signed"] == "2031-02-03T04:05:06Z"
    assert said["expires"] == "2031-02-17T04:05:06Z"


def test_a_refresh_signs_the_snapshot_when_it_is_due(made: Made, reader: Reader) -> None:
    made.publish("1.2.0")
    start = repository.now()
    due = [
        repository.refresh(made.folder, made.keys.snapshot, made.keys.timestamp, start + timedelta(days=day))
        for day in range(1, 18)
    ]
    assert due == [False] * 15 + [True, False]
    assert reader.offer() is not None


def test_what_has_expired_is_said_and_refreshing_mends_it(made: Made, reader: Reader) -> None:
    long_ago = repository.now() - timedelta(days=40)
    offer, bundle = made.offer("1.2.0")
    repository.publish(made.folder, offer, bundle, made.keys, long_ago)
    with pytest.raises(ExpiredMetadataError):
        reader.offer()
    assert repository.refresh(made.folder, made.keys.snapshot, made.keys.timestamp)
    assert reader.offer() == offer


# ---------------------------------------------------------------------------------------------- at any moment


class Cut(BaseException):
    """The power went, or somebody killed us."""


def written(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], most: int | None = None) -> int:
    """How many files that takes. The one of number `most` is the last that is written."""
    really, count = repository.place, 0

    def place(target: Path, fill: Callable[[BinaryIO], object]) -> None:
        nonlocal count
        really(target, fill)
        count += 1
        if count == most:
            raise Cut

    with monkeypatch.context() as patch, contextlib.suppress(Cut):
        patch.setattr(repository, "place", place)
        act()
    return count


@pytest.mark.parametrize("what", ["publish", "withdraw", "refresh", "rotate"])
def test_a_reader_at_any_moment_finds_a_whole_state(
    what: str, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each file that is written: a new box, and one that looks every time. What was cut can be done again."""
    old = made.publish("1.2.0")
    new = made.offer("1.3.0")
    late = repository.now() + timedelta(days=20)
    coming = signers.generated()

    acts: dict[str, Callable[[Made], object]] = {
        "publish": lambda to: repository.publish(to.folder, *new, to.keys),
        "withdraw": lambda to: repository.withdraw(to.folder, "stable", to.keys),
        "refresh": lambda to: repository.refresh(to.folder, to.keys.snapshot, to.keys.timestamp, late),
        "rotate": lambda to: rotated(to, "timestamp", coming),
    }
    afterwards = {"publish": new[0], "withdraw": None}.get(what, old)

    def copy(name: str) -> Made:
        shutil.copytree(made.folder, tmp_path / name)
        return made._replace(folder=tmp_path / name)

    total = written(monkeypatch, lambda: acts[what](copy("whole")))
    assert total >= 2
    for files in range(1, total + 1):
        cut, kept = copy(f"cut-{files}"), tmp_path / f"kept-{files}"
        Reader(made.folder, kept).offer()
        assert written(monkeypatch, lambda: acts[what](cut), files) == files  # noqa: B023
        now = old if files < total else afterwards
        assert Reader(cut.folder, tmp_path / f"new-{files}").offer() == Reader(cut.folder, kept).offer() == now
        if files < total:
            acts[what](cut)
            assert Reader(cut.folder, kept).offer() == afterwards


# ------------------------------------------------------------------------------------------------------ roots


def rotated(made: Made, role: roots.Role, new: KeySigner) -> None:
    root = repository.newest_root(made.folder).signed
    roots.co_sign(made.folder, role, new)
    draft = roots.successor(made.folder)
    roots.replace(draft, role, root.roles[role].keyids[0], new.public_key)
    assert roots.sign(made.folder, draft, made.roots[:2]) == []


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_another_key_for_a_role(role: roots.Role, made: Made, reader: Reader, tmp_path: Path) -> None:
    offer, new = made.publish("1.2.0"), signers.generated()
    assert reader.offer() == offer
    rotated(made, role, new)
    assert reader.offer() == offer == Reader(made.folder, tmp_path / "new").offer()
    keys = made.keys._replace(**{role: new})
    repository.publish(made.folder, *made.offer("1.3.0"), keys)
    assert (reader.offer() or offer).version == "1.3.0"
    repository.publish(made.folder, *made.offer("1.4.0"), made.keys)  # by who has the old key
    with pytest.raises(UnsignedMetadataError):
        reader.offer()


def test_roots_chain(made: Made, reader: Reader) -> None:
    """All three root keys are replaced, one after the other; a box that has only the first root follows."""
    made.publish("1.2.0")
    by = list(made.roots)
    for number in range(3):
        new = signers.generated()
        draft = roots.successor(made.folder)
        roots.replace(draft, "root", by[number].public_key.keyid, new.public_key)
        old, by[number] = by[number], new
        assert roots.sign(made.folder, draft, [old, by[(number + 1) % 3], by[number]]) == []
    assert reader.offer() is not None
    assert repository.newest_root(made.folder).signed.version == 4


def test_one_signature_is_not_enough(made: Made, reader: Reader) -> None:
    """The draft is carried from key to key; nothing changes for boxes before it is whole."""
    offer = made.publish("1.2.0")
    new = signers.generated()
    draft = roots.successor(made.folder)
    roots.replace(draft, "root", made.roots[2].public_key.keyid, new.public_key)
    lacks = roots.sign(made.folder, draft, made.roots[:1])
    assert [words.split(":")[0] for words in lacks] == ["1 more of version 1's keys", "1 more of version 2's keys"]
    assert reader.offer() == offer
    assert not (made.folder / "metadata" / "2.root.json").exists()
    draft = roots.read_draft(made.folder)
    assert [words.split(":")[0] for words in roots.sign(made.folder, draft, [new])] == ["1 more of version 1's keys"]
    assert roots.sign(made.folder, roots.read_draft(made.folder), made.roots[1:2]) == []
    assert reader.offer() == offer
    with pytest.raises(UpdateError, match="no root that lacks signatures"):
        roots.read_draft(made.folder)


def test_a_root_that_was_forced_into_place_is_refused(made: Made, reader: Reader) -> None:
    """By python-tuf: one of two needed signatures, or the new keys' alone."""
    made.publish("1.2.0")
    reader.offer()
    draft = roots.successor(made.folder)
    for by in (made.roots[:1], [signers.generated(), signers.generated()]):
        for signer in by:
            draft.sign(signer, append=True)
        repository.put_metadata(made.folder, "2.root.json", draft)
        with pytest.raises(UnsignedMetadataError):
            reader.offer()


def test_too_few_keys_are_never_left(made: Made) -> None:
    draft = roots.successor(made.folder)
    first, second, _ = (one.public_key.keyid for one in made.roots)
    roots.replace(draft, "root", first, None)
    with pytest.raises(UpdateError, match="root: 1 keys would be left, 2 have to sign"):
        roots.replace(draft, "root", second, None)
    with pytest.raises(UpdateError, match="targets: 0 keys would be left"):
        roots.replace(draft, "targets", made.keys.targets.public_key.keyid, None)
    with pytest.raises(UpdateError, match="it has a role already"):
        roots.replace(draft, "targets", made.keys.targets.public_key.keyid, made.roots[1].public_key)
    with pytest.raises(UpdateError, match="not one of targets's"):
        roots.replace(draft, "targets", first, signers.generated().public_key)


def test_a_stranger_does_not_sign_roots(made: Made) -> None:
    with pytest.raises(UpdateError, match="not a root key"):
        roots.sign(made.folder, roots.successor(made.folder), [signers.generated()])


@pytest.mark.parametrize(("number", "threshold"), [(1, 2), (3, 0)])
def test_a_threshold_can_be_reached(number: int, threshold: int) -> None:
    keys = [signers.generated().public_key for _ in range(number)]
    with pytest.raises(UpdateError, match=f"threshold {threshold}: expected 1 to {number}"):
        roots.begin(keys, threshold, {})


def test_each_key_has_one_purpose() -> None:
    key = signers.generated().public_key
    with pytest.raises(UpdateError, match="one key was given for two purposes"):
        roots.begin([key], 1, {"targets": key})


# ------------------------------------------------------------------------------------------------------ refusals


def test_a_repository_is_not_made_twice(made: Made) -> None:
    with pytest.raises(UpdateError, match="a repository is there already"):
        repository.create(made.folder, made.keys)


def test_no_repository(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match=r"no repository.*tools/release\.sh init"):
        repository.read(tmp_path)
    with pytest.raises(UpdateError, match=r"no repository.*tools/release\.sh init"):
        repository.publish(tmp_path / "none", *made.offer("1.2.0"), made.keys)


def test_foreign_metadata_are_not_continued(made: Made) -> None:
    """Somebody wrote into the folder: whoever publishes does not sign that."""
    made.publish("1.2.0")
    targets = made.folder / "metadata" / "2.targets.json"
    metadata = Metadata.from_bytes(targets.read_bytes())
    metadata.sign(signers.generated())
    targets.write_bytes(metadata.to_bytes())
    with pytest.raises(UpdateError, match=r"2\.targets\.json"):
        made.publish("1.3.0")


def test_a_bundle_stays_inside(made: Made) -> None:
    offer, bundle = made.offer("1.2.0")
    outside = replaced(offer, bundle=replaced(offer.bundle, url="../x.raucb"))  # type: ignore[arg-type]
    with pytest.raises(UpdateError, match="expected a path inside"):
        repository.publish(made.folder, outside, bundle, made.keys)


def test_any_web_server_may_read_it(made: Made) -> None:
    made.publish("1.2.0")
    files = [path for path in made.folder.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}
    assert not [path for path in files if path.name.startswith(".")]
