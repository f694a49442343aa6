"""What TUF is there to refuse. Each with a control: a box that was not to refuse it, takes the same files."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tuf.api.metadata import MetaFile

from edge.update import client
from edge.update.web import Limit
from tests.support.static_server import Fault, StaticServer
from tests.support.tuf_repository import START
from tests.support.update_box import Place

# ------------------------------------------------------------------------------------------ rollback


def test_rollback_an_older_copy_of_everything(place: Place) -> None:
    """A mirror that is behind, or a stick that lay in a drawer."""
    old = dict(place.repository.files)
    place.release("1.3.0")
    box = place.box()
    box.check(place.folder)
    place.repository.files = old
    place.lay()
    assert "an old stick?" in box.refuses(place.folder, "rollback")
    assert box.known() == "1.3.0"
    assert place.fresh().check(place.folder).offer.version == "1.2.0"


def test_rollback_a_new_timestamp_names_an_older_snapshot(place: Place) -> None:
    """Who has stolen the key that lies on the server, and no other."""
    repository = place.repository
    older = repository.timestamp.snapshot_meta
    place.release("1.3.0")
    box = place.box()
    box.check(place.folder)
    repository.timestamp.version += 1
    repository.timestamp.snapshot_meta = older
    repository.sign("timestamp.json", repository.timestamp, repository.keys["timestamp"])
    place.lay()
    assert "snapshot version" in box.refuses(place.folder, "rollback")
    assert place.fresh().check(place.folder).offer.version == "1.2.0"


def test_rollback_a_new_snapshot_names_older_targets(place: Place) -> None:
    repository = place.repository
    older = repository.snapshot.meta["targets.json"]
    place.release("1.3.0")
    box = place.box()
    box.check(place.folder)
    repository.snapshot.version += 1
    repository.snapshot.meta["targets.json"] = older
    repository.sign(f"{repository.snapshot.version}.snapshot.json", repository.snapshot, repository.keys["snapshot"])
    repository.publish_timestamp()
    place.lay()
    assert "targets.json" in box.refuses(place.folder, "rollback")
    assert place.fresh().check(place.folder).offer.version == "1.2.0"


def test_rollback_a_snapshot_that_leaves_something_out(plain: Place) -> None:
    repository = plain.repository
    repository.snapshot.meta["more.json"] = MetaFile(1)
    plain.release("1.3.0")
    box = plain.box()
    box.check(plain.folder)
    del repository.snapshot.meta["more.json"]
    plain.release("1.4.0")
    assert "more.json" in box.refuses(plain.folder, "rollback")
    assert plain.fresh().check(plain.folder).offer.version == "1.4.0"


def test_rollback_an_older_root_under_the_next_ones_name(place: Place) -> None:
    files = place.repository.files
    place.repository.publish_root()
    box = place.box()
    place.lay()
    box.check(place.folder)
    files["metadata/3.root.json"] = files["metadata/1.root.json"]
    place.lay()
    assert "one by one" in box.refuses(place.folder, "rollback")
    del files["metadata/3.root.json"]
    place.repository.publish_root()
    place.lay()
    box.check(place.folder)


# -------------------------------------------------------------------------------------------- freeze


def test_freeze_the_same_for_ever(place: Place) -> None:
    box = place.box()
    box.check(place.folder)
    assert box.check(place.folder, now=START + timedelta(hours=23)).offer.version == "1.2.0"
    words = box.refuses(place.folder, "expired", now=START + timedelta(hours=25))
    assert "timestamp.json is expired (the time taken is 2026-03-02T13:00:00Z)" in words


def test_freeze_a_time_beyond_the_chains_own(plain: Place) -> None:
    """A thief of the timestamp's key cannot set a box's time beyond what the offline keys have signed for."""
    plain.repository.now += timedelta(days=4000)
    plain.repository.publish_timestamp()
    plain.lay()
    assert "says itself" in plain.box().refuses(plain.folder, "expired", now=None)
    assert "says itself" in plain.box().refuses(plain.folder, "expired")
    plain.repository.now = START
    plain.repository.publish_timestamp()
    plain.lay()
    assert plain.box().check(plain.folder, now=None).offer.version == "1.2.0"


@pytest.mark.parametrize("role", ["snapshot", "targets", "root"])
def test_freeze_behind_a_timestamp_that_is_fresh(place: Place, role: str) -> None:
    """Its key lies on the server and can be stolen; those of the others bound for how long that helps."""
    repository, later = place.repository, START + timedelta(days=400 if role == "root" else 8)
    if role != "targets":
        repository.publish_targets(days=1000)
    if role != "snapshot":
        repository.publish_snapshot(days=1000)
    repository.publish_timestamp(days=1000)
    place.lay()
    assert role in place.fresh().refuses(place.folder, "expired", now=later)
    assert place.fresh().check(place.folder, now=START + timedelta(days=6)).offer.version == "1.2.0"


def test_freeze_without_a_clock_the_newest_signed_time_counts(place: Place) -> None:
    """The box was switched off since, and takes 1970 for the time."""
    box, repository = place.box(), place.repository
    repository.now += timedelta(days=3)
    place.release("1.3.0")
    box.check(place.folder, now=None)
    repository.now -= timedelta(days=3)
    repository.publish_timestamp(days=2)  # a stolen key, and the signed time is a lie
    place.lay()
    assert "2026-03-04T12:00:00Z" in box.refuses(place.folder, "expired", now=None)
    assert place.fresh().check(place.folder, now=None).offer.version == "1.3.0"


def test_freeze_without_a_clock_the_chains_own_time_counts(place: Place) -> None:
    """What was signed on the eighth day is no witness for a snapshot that was good until the seventh."""
    repository = place.repository
    repository.now += timedelta(days=8)
    repository.publish_timestamp()
    place.lay()
    assert "2026-03-08T12:00:00Z" in place.fresh().refuses(place.folder, "expired", now=None)
    repository.now -= timedelta(days=2)
    repository.publish_timestamp()
    place.lay()
    assert place.fresh().check(place.folder, now=None).offer.version == "1.2.0"


# -------------------------------------------------------------------------------------- mix and match


@pytest.mark.parametrize("role", ["snapshot", "targets"])
@pytest.mark.parametrize("seen", [True, False])
def test_mix_and_match(place: Place, role: str, seen: bool) -> None:
    """Each is signed and none has expired; they never were current together."""
    box, files = place.box(), place.repository.files
    if seen:
        box.check(place.folder)
    place.release("1.3.0")
    new = files[f"metadata/2.{role}.json"]
    files[f"metadata/2.{role}.json"] = files[f"metadata/1.{role}.json"]
    place.lay()
    assert "signed for with the others" in box.refuses(place.folder, "mixed")
    files[f"metadata/2.{role}.json"] = new
    place.lay()
    assert box.check(place.folder).offer.version == "1.3.0"


def test_mix_and_match_the_offer_of_another_day(place: Place) -> None:
    repository = place.repository
    old = place.folder / f"targets/{repository.targets.targets['stable.json'].hashes['sha256']}.stable.json"
    place.release("1.3.0")
    new = f"targets/{repository.targets.targets['stable.json'].hashes['sha256']}.stable.json"
    right, repository.files[new] = repository.files[new], old.read_bytes()
    place.lay()
    place.box().refuses(place.folder, "mixed")
    repository.files[new] = right
    place.lay()
    assert place.box().check(place.folder).offer.version == "1.3.0"


def test_an_offer_of_another_channel(plain: Place) -> None:
    """Signed under a name that is not its own: whoever published it made a mistake."""
    repository = plain.repository
    repository.offer("2.0.0rc1", channel="trial")
    trial = repository.files[f"targets/{repository.targets.targets['trial.json'].hashes['sha256']}.trial.json"]
    right = repository.targets.targets["stable.json"]
    repository.target("stable.json", trial)
    repository.publish()
    plain.lay()
    assert "it says that it is of channel trial" in plain.box().refuses(plain.folder, "malformed")
    repository.targets.targets["stable.json"] = right
    repository.publish()
    plain.lay()
    assert plain.box().check(plain.folder).offer.version == "1.2.0"


# --------------------------------------------------------------------------------- endless and slow


@pytest.mark.parametrize(
    "name", ["*/2.root.json", "*/timestamp.json", "*.snapshot.json", "*.targets.json", "targets/*"]
)
@pytest.mark.parametrize("fault", [Fault(endless=True), Fault(endless=True, chunked=True)], ids=["plain", "chunked"])
def test_endless_data(place: Place, name: str, fault: Fault) -> None:
    """So many bytes are read, and no more; what is sent beyond lies in buffers."""
    place.repository.publish_root()
    place.lay()
    with StaticServer(place.folder) as server:
        server.faults[name] = fault
        box = place.box()
        assert "goes on after" in box.refuses(server.url, "too_long")
        assert server.sent(name) < 1_000_000
        server.faults.clear()
        assert box.check(server.url).offer.version == "1.2.0"


def test_endless_data_that_was_signed_for(plain: Place) -> None:
    """Who has the timestamp's key may name any length: ours count all the same."""
    repository = plain.repository
    repository.timestamp.version += 1
    repository.timestamp.snapshot_meta = MetaFile(1, length=1 << 40)
    repository.sign("timestamp.json", repository.timestamp, repository.keys["timestamp"])
    plain.lay()
    with StaticServer(plain.folder) as server:
        server.faults["*.snapshot.json"] = Fault(endless=True)
        plain.box().refuses(server.url, "too_long")
        assert server.sent("*.snapshot.json") < 1_000_000
        server.faults.clear()
        repository.timestamp.snapshot_meta = MetaFile(1)
        repository.sign("timestamp.json", repository.timestamp, repository.keys["timestamp"])
        plain.lay()
        plain.box().check(server.url)


def test_an_offer_that_is_too_long_is_not_fetched(plain: Place) -> None:
    plain.repository.offer("1.3.0", changes="x" * 2000)
    file = plain.repository.target("stable.json", b"x" * (client.OFFER_MOST + 1))
    plain.repository.publish()
    plain.lay()
    with StaticServer(plain.folder) as server:
        plain.box().refuses(server.url, "too_long")
        assert server.sent(file) == 0


@pytest.mark.parametrize(
    "name", ["*/2.root.json", "*/timestamp.json", "*.snapshot.json", "*.targets.json", "targets/*"]
)
@pytest.mark.parametrize(
    "fault",
    [Fault(drip_s=0.1), Fault(drip_s=0.1, drip_headers=True), Fault(drip_s=0.1, chunked=True)],
    ids=["body", "headers", "chunks"],
)
def test_slow_retrieval(plain: Place, monkeypatch: pytest.MonkeyPatch, name: str, fault: Fault) -> None:
    """A byte now and then: no read of it takes long, and all of it a minute."""
    monkeypatch.setattr(client, "CHECK", Limit(seconds=1.0))
    plain.repository.publish_root()
    plain.lay()
    with StaticServer(plain.folder) as server:
        server.faults[name] = fault
        box = plain.box()
        assert "too slow" in box.refuses(server.url, "slow")
        monkeypatch.undo()
        server.faults.clear()
        assert box.check(server.url).offer.version == "1.2.0"
