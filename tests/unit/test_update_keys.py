"""Keys: wrong ones, too few, rotated, stolen, taken back. Each with a control, as in test_update_attacks.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from edge.update import client
from tests.support.tuf_repository import START, Repository
from tests.support.update_box import Place

FAR = START + timedelta(days=300)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_the_wrong_key(place: Place, role: str) -> None:
    box, repository = place.box(), place.repository
    box.check(place.folder)
    right, repository.keys[role] = repository.keys[role], [CryptoSigner.generate_ed25519()]
    place.release("1.3.0")
    assert f"{role} was signed by 0/1 keys" in box.refuses(place.folder, "signature")
    repository.keys[role] = right
    place.release("1.3.0")
    assert box.check(place.folder).offer.version == "1.3.0"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_key_of_another_role(plain: Place, role: str) -> None:
    box, repository = plain.box(), plain.repository
    other = "targets" if role == "timestamp" else "timestamp"
    right, repository.keys[role] = repository.keys[role], repository.keys[other]
    plain.release("1.3.0")
    box.refuses(plain.folder, "signature")
    repository.keys[role] = right
    plain.release("1.3.0")
    box.check(plain.folder)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_the_threshold_is_not_reached(place: Place, role: str) -> None:
    repository = place.repository
    repository.rotate(role, threshold=2)
    repository.publish_root()
    box, both = place.box(), repository.keys[role]
    repository.keys[role] = both[:1]
    place.release("1.3.0")
    assert f"{role} was signed by 1/2 keys" in box.refuses(place.folder, "signature")
    repository.keys[role] = [both[0], both[0]]  # one key that signs twice is one key
    place.release("1.3.0")
    box.refuses(place.folder, "signature")
    repository.keys[role] = both
    place.release("1.3.0")
    assert box.check(place.folder).offer.version == "1.3.0"


def test_the_threshold_of_roots_counts_old_and_new_keys(plain: Place) -> None:
    box, repository = plain.box(), plain.repository
    old = repository.keys["root"]
    repository.rotate("root", threshold=2)
    new = repository.keys["root"]

    def laid_with(*keys: CryptoSigner) -> None:
        repository.root.version = 2
        repository.sign("2.root.json", repository.root, keys)
        plain.lay()

    for keys in ((), new, (old[0], new[0]), (CryptoSigner.generate_ed25519(), *new)):
        laid_with(*keys)
        assert "root" in box.refuses(plain.folder, "signature")
    laid_with(old[0], *new)
    box.check(plain.folder)


def _rotated(repository: Repository, times: int) -> None:
    for _ in range(times):
        before = repository.keys["root"]
        repository.rotate("root")
        repository.rotate("timestamp")
        repository.publish_root(before)


def test_roots_are_followed_one_by_one(place: Place) -> None:
    """A box that was in a drawer for three of them."""
    seen, unseen = place.box(), place.box("unseen")
    seen.check(place.folder)
    _rotated(place.repository, 3)
    place.release("1.3.0")
    for box in (seen, unseen):
        assert box.check(place.folder).offer.version == "1.3.0"
        assert box.check(place.folder).offer.version == "1.3.0"


@pytest.mark.parametrize("missing", [2, 3, 4])
def test_no_root_may_be_left_out(place: Place, missing: int) -> None:
    box, files = place.box(), place.repository.files
    _rotated(place.repository, 3)
    place.release("1.3.0")
    left_out = files.pop(f"metadata/{missing}.root.json")
    place.lay()
    assert "timestamp was signed by 0/1 keys" in box.refuses(place.folder, "signature")
    files[f"metadata/{missing}.root.json"] = left_out
    place.lay()
    assert box.check(place.folder).offer.version == "1.3.0"


def test_a_root_of_another_chain(place: Place, tmp_path: Path) -> None:
    """The second one is right, the third is a stranger's, whose own chain is right."""
    stranger = Place(tmp_path / "stranger")
    for repository in (place.repository, stranger.repository):
        _rotated(repository, 2)
    place.release("1.3.0")
    stranger.release("6.6.6")
    ours, box = dict(place.repository.files), place.box()
    place.repository.files = {
        **{name: content for name, content in stranger.repository.files.items() if "root" not in name},
        **{name: ours[name] for name in ("metadata/1.root.json", "metadata/2.root.json")},
        "metadata/3.root.json": stranger.repository.files["metadata/3.root.json"],
    }
    place.lay()
    assert "root was signed by 0/1 keys" in box.refuses(place.folder, "signature")
    place.repository.files = ours
    place.lay()
    assert box.check(place.folder).offer.version == "1.3.0"
    assert stranger.fresh().check(stranger.folder).offer.version == "6.6.6"


def test_a_long_chain_of_roots(plain: Place) -> None:
    """A root each year, and a few that were revoked, for as long as a box may be in use."""
    box = plain.box()
    _rotated(plain.repository, 60)
    plain.release("1.3.0")
    assert box.check(plain.folder).offer.version == "1.3.0"
    _rotated(plain.repository, 1)
    plain.release("1.4.0")
    assert box.check(plain.folder).offer.version == "1.4.0"


# ------------------------------------------------------------------------------- stolen, and taken back


def _stolen(place: Place, role: str, change: Callable[[Repository], None]) -> dict[str, bytes]:
    """What somebody can publish who has that role's key, the timestamp's and the snapshot's."""
    repository = place.repository
    for stolen in {role, "timestamp", "snapshot"}:
        repository.rotate(stolen)
    repository.publish_root()
    place.release("1.3.0")
    right: Any = (dict(repository.files), repository.timestamp.version, repository.snapshot.version)
    change(repository)
    repository.publish()
    place.lay()
    evil = dict(repository.files)
    repository.files, repository.timestamp.version, repository.snapshot.version = right
    repository.targets.version = right[2]
    repository.timestamp.unrecognized_fields.clear()
    for stolen in {role, "timestamp", "snapshot"}:
        repository.rotate(stolen)
    return evil


def test_a_revoked_key_signs_nothing_any_more(place: Place) -> None:
    evil = _stolen(place, "targets", lambda repository: repository.offer("6.6.6") and None)
    assert place.fresh().check(place.folder).offer.version == "6.6.6"  # until it is taken back
    repository = place.repository
    repository.publish_root()
    repository.files.update({name: content for name, content in evil.items() if "root" not in name})
    place.lay()
    box = place.box()
    box.refuses(place.folder, "signature")
    repository.files = {name: content for name, content in repository.files.items() if "root" in name}
    place.release("1.4.0")
    assert box.check(place.folder).offer.version == "1.4.0"


def test_a_revocation_stays_when_the_rest_is_held_back(place: Place) -> None:
    """The attacker lets the new root pass, once, and then never again."""
    evil = _stolen(place, "targets", lambda repository: repository.offer("6.6.6") and None)
    box, repository = place.box(), place.repository
    assert box.check(place.folder).offer.version == box.known() == "6.6.6"
    repository.publish_root()
    repository.files = {name: content for name, content in repository.files.items() if "root" in name}
    place.lay()
    with pytest.raises(client.UpdateError, match="no update repository"):
        box.check(place.folder)
    assert box.known() == ""  # it was signed with a key that is good no longer
    repository.files = evil
    place.lay()
    with pytest.raises(client.UpdateError, match="signed by 0/1 keys"):
        box.check(place.folder)
    assert place.fresh().check(place.folder).offer.version == "6.6.6"


def test_fast_forward_is_recovered_from(place: Place) -> None:
    """Versions far ahead, so that nothing that is right is ever newer: forgotten with the keys that signed them."""

    def far_ahead(repository: Repository) -> None:
        repository.timestamp.version = repository.snapshot.version = repository.targets.version = 1 << 40

    _stolen(place, "targets", far_ahead)
    box, repository = place.box(), place.repository
    box.check(place.folder)
    assert b"1099511627777" in bytes(box.held()["metadata/timestamp.json"])  # it worked
    place.release("1.4.0")  # signed with the new keys, and the root does not say so yet
    box.refuses(place.folder, "signature")
    repository.publish_root()
    place.lay()
    assert box.check(place.folder).offer.version == "1.4.0"


def test_a_signed_time_far_ahead_is_recovered_from(place: Place) -> None:
    """A box without a clock would take everything for expired until then. (It cannot be set beyond the expiry of a
    root, whose keys are not to be stolen that way.)"""

    def far_ahead(repository: Repository) -> None:
        repository.now = FAR

    _stolen(place, "targets", far_ahead)
    place.repository.now = START
    box = place.box()
    assert box.check(place.folder, now=None).signed_at == FAR.strftime("%Y-%m-%dT%H:%M:%SZ")
    place.repository.publish_root()
    place.release("1.4.0")
    with pytest.raises(client.UpdateError, match=r"timestamp\.json is expired"):
        box.check(place.folder, now=None)  # the new root is kept
    found = box.check(place.folder, now=None)
    assert (found.offer.version, found.signed_at) == ("1.4.0", "2026-03-01T12:00:00Z")
