"""What a box takes from a repository, keeps, and says when there is none."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.errors import UpdateError
from edge.update import client
from edge.update.client import Client
from tests.support.static_server import Fault, StaticServer
from tests.support.tuf_repository import START, Repository
from tests.support.update_box import Box, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.release("1.2.0")
    return made


def test_what_is_offered_and_until_when(place: Place) -> None:
    found = place.box().check(place.folder)
    assert (found.offer.version, found.offer.channel) == ("1.2.0", "stable")
    assert (found.signed_at, found.expires_at) == ("2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z")
    files = place.repository.files
    came = [name for name in files if not name.startswith("metadata/1.root")]
    assert found.bytes == sum(len(files[name]) for name in came)


def test_a_new_offer_takes_the_old_ones_place(place: Place) -> None:
    box = place.box()
    box.check(place.folder)
    place.release("1.3.0")
    assert box.known() == "1.2.0"
    assert box.check(place.folder).offer.version == "1.3.0"
    assert box.known() == "1.3.0"


@pytest.mark.parametrize("base", ["{folder}", "file://{folder}", "{url}", "{url}/"])
def test_folders_and_servers_are_the_same(place: Place, base: str) -> None:
    with StaticServer(place.folder) as server:
        assert place.box().check(base.format(folder=place.folder, url=server.url)).offer.version == "1.2.0"


def test_a_check_that_finds_nothing_new_is_small_and_writes_nothing(place: Place) -> None:
    box = place.box()
    with StaticServer(place.folder) as server:
        box.check(server.url)
        held, before = (box.folder / "tuf" / "current").readlink(), len(server.requests)
        again = box.check(server.url)
        assert [one.path for one in server.requests[before:]] == ["metadata/2.root.json", "metadata/timestamp.json"]
    assert again.bytes == len(place.repository.files["metadata/timestamp.json"]) <= 20_000
    assert (box.folder / "tuf" / "current").readlink() == held
    assert [path.name for path in (box.folder / "tuf").iterdir() if path.name != "current"] == [str(held)]


def test_one_repository_has_several_channels(place: Place) -> None:
    box = place.box()
    place.repository.offer("2.0.0rc1", channel="trial")
    place.release("1.3.0")
    assert box.check(place.folder, channel="trial").offer.version == "2.0.0rc1"
    assert box.check(place.folder).offer.version == "1.3.0"
    assert (box.known("trial"), box.known()) == ("2.0.0rc1", "1.3.0")
    place.repository.offer("2.0.0rc2", channel="trial")
    place.release("1.4.0")
    box.check(place.folder)
    assert (box.known("trial"), box.known()) == ("", "1.4.0")  # what it offered is not what is signed for now


def test_a_channel_that_is_not_there_is_said(place: Place) -> None:
    with pytest.raises(UpdateError, match="no channel trial") as found:
        place.box().check(place.folder, channel="trial")
    assert found.value.code == "absent"
    for name in ("../stable", "", "a/b", "stable\n"):
        assert "expected a name" in place.box().refuses(place.folder, "absent", channel=name)


def test_a_channel_that_ends_is_known_no_longer(place: Place) -> None:
    box = place.box()
    box.check(place.folder)
    del place.repository.targets.targets["stable.json"]
    place.repository.publish()
    place.lay()
    with pytest.raises(UpdateError, match="no channel stable"):
        box.check(place.folder)
    assert box.known() == ""


def test_nothing_is_known_at_first_or_when_it_is_damaged(place: Place) -> None:
    box = place.box()
    assert box.known() == ""
    box.check(place.folder)
    assert box.known() == "1.2.0"
    for name in ("offers/stable.json", "metadata/targets.json"):
        file = box.folder / "tuf" / "current" / name
        content = file.read_bytes()
        file.write_bytes(content.replace(b"1.2.0", b"1.9.0").replace(b'"sig"', b'"sog"'))
        assert box.known() == ""
        file.write_bytes(content)
    assert box.known() == "1.2.0"


def test_what_is_known_does_not_expire_by_itself(place: Place) -> None:
    """Without a network for a month: `check` says that it has expired, and what was offered is still shown."""
    box, later = place.box(), START + timedelta(days=30)
    box.check(place.folder)
    assert "nobody has signed for too long" in box.refuses(place.folder, "expired", now=later)
    assert box.known() == "1.2.0"


def test_damaged_metadata_are_fetched_anew(place: Place) -> None:
    box = place.box()
    box.check(place.folder)
    for file in (box.folder / "tuf" / "current" / "metadata").glob("*.json"):
        if not file.is_symlink():
            file.write_bytes(b"\0" * 100)
    assert box.check(place.folder).offer.version == "1.2.0"


def test_a_newer_root_may_be_installed(place: Place) -> None:
    """A release brings along the newest root; the box's own chain begins there."""
    box = place.box()
    box.check(place.folder)
    place.repository.rotate("timestamp")
    place.repository.publish_root()
    place.release("1.3.0")
    newer = Client(box.folder, place.repository.files["metadata/2.root.json"], START)
    assert newer.check(str(place.folder), "stable", START).offer.version == "1.3.0"


# ------------------------------------------------------------------------------------------ the time


def test_a_clock_that_is_not_trusted_is_as_late_as_the_release(place: Place) -> None:
    assert place.box().check(place.folder, now=None).offer.version == "1.2.0"
    later = place.box("later", built_at=START + timedelta(days=2))
    assert "2026-03-03" in later.refuses(place.folder, "expired", now=None)


def test_the_newest_signed_time_stays(place: Place) -> None:
    box = place.box()
    place.repository.now += timedelta(days=3)
    place.release("1.3.0")
    assert box.check(place.folder).signed_at == "2026-03-04T12:00:00Z"
    place.repository.now -= timedelta(days=2)
    place.repository.publish_timestamp(days=9)
    place.lay()
    assert box.check(place.folder, now=None).signed_at == "2026-03-04T12:00:00Z"


@pytest.mark.parametrize("said", [None, "", "yesterday", 3, "2026-03-01T12:00:00", "2026-02-31T12:00:00Z", ["x"]])
def test_a_timestamp_has_to_say_when(place: Place, said: Any) -> None:
    repository = place.repository
    repository.timestamp.version += 1
    repository.timestamp.unrecognized_fields[client.SIGNED] = said
    repository.sign("timestamp.json", repository.timestamp, repository.keys["timestamp"])
    place.lay()
    place.box().refuses(place.folder, "malformed")


# --------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    "base",
    ["", "ftp://host/x", "host/x", "https://", "https://a:b@host/x", "http://host/x?y", "http://h:x/", "file://o/x"],
)
def test_an_address_that_is_none_is_said(place: Place, base: str) -> None:
    with pytest.raises(UpdateError, match=r"expected https://host/folder"):
        place.box().check(base)


def test_a_stick_that_is_not_in_is_out_of_reach(place: Place, tmp_path: Path) -> None:
    assert "is the stick in?" in place.box().refuses(tmp_path / "media" / "stick", "unreachable")
    (tmp_path / "media" / "stick").mkdir(parents=True)
    assert "is the stick in?" in place.box().refuses(tmp_path / "media" / "stick", "unreachable")


def test_no_repository_at_an_address_is_said(place: Place, tmp_path: Path) -> None:
    with StaticServer(tmp_path) as server:
        assert "no update repository" in place.box().refuses(server.url, "absent")
        url = server.url
    assert "Connection refused" in place.box().refuses(url, "unreachable")
    assert "name" in place.box().refuses("http://no-such-host.invalid", "unreachable").lower()


def test_a_server_that_is_ill_is_tried_again(place: Place) -> None:
    box = place.box()
    with StaticServer(place.folder) as server:
        for status in (500, 503, 429):
            server.faults["*"] = Fault(status=status)
            assert str(status) in box.refuses(server.url, "unreachable")
        server.faults["*"] = Fault(status=403)
        assert "403" in box.refuses(server.url, "absent")
        server.faults.clear()
        server.faults["*/timestamp.json"] = Fault(cut_after=100)
        box.refuses(server.url, "unreachable")
        server.faults["*/timestamp.json"] = Fault(says=10_000)
        assert "early" in box.refuses(server.url, "unreachable")
        server.faults.clear()
        server.faults["*.root.json"] = Fault(status=403)  # as a store says it that may not be listed
        assert box.check(server.url).offer.version == "1.2.0"


def test_half_a_repository_is_tried_again(place: Place) -> None:
    (place.folder / "metadata" / "1.targets.json").unlink()
    assert "not whole" in place.box().refuses(place.folder, "unreachable")


def test_a_sign_in_page_is_no_metadata(place: Place) -> None:
    with StaticServer(place.folder) as server:
        server.faults["*"] = Fault(content=b"<html>Welcome to the hospital's guest network</html>")
        assert "sign-in page" in place.box().refuses(server.url, "malformed")


def test_a_root_that_is_none_is_said(place: Place, tmp_path: Path) -> None:
    for content in (b"", b"{}", place.repository.files["metadata/timestamp.json"]):
        with pytest.raises(UpdateError, match=r"install root.json anew"):
            Client(tmp_path / "box", content, START).check(str(place.folder), "stable", START)


def test_a_disk_that_does_not_take_it_is_said(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UpdateError, match=r"Not a directory|File exists") as found:
        Client(tmp_path / "file", place.repository.first_root, START).check(str(place.folder), "stable", START)
    assert found.value.code == "disk"


# ------------------------------------------------------------------------------------ anything at all

_ODD: list[Any] = [None, -1, 0, 1 << 70, "", "\ud800", [], {}, [[[]]], {"a": {"b": 1}}, True, "9999-99-99T00:00:00Z"]


def _spoilt(content: bytes, chance: random.Random) -> bytes:
    """A few bytes turned over, or a part of its structure made something else."""
    if chance.random() < 0.4:
        changed = bytearray(content)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)
    if chance.random() < 0.1:
        return b"[" * chance.randrange(1, 16_000)
    whole = here = json.loads(content)
    while True:
        key = chance.choice(list(here) if isinstance(here, dict) else range(len(here)))
        if not isinstance(here[key], dict | list) or not here[key] or chance.random() < 0.3:
            here[key] = chance.choice(_ODD)
            return json.dumps(whole).encode()
        here = here[key]


def _outcome(box: Box, base: Path) -> str:
    try:
        return box.check(base).offer.version
    except UpdateError as exc:
        return "refused" if exc.code else f"without a code: {exc}"


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_the_right_offer_or_a_clear_error(place: Place, seed: int) -> None:
    chance, repository = random.Random(seed), place.repository
    place.box().check(place.folder)
    repository.rotate("snapshot")
    repository.publish_root()
    place.release("1.3.0")
    good = dict(repository.files)
    for number in range(20):
        name = chance.choice([name for name in good if name != "metadata/1.root.json"])
        repository.files = {**good, name: _spoilt(good[name], chance)}
        place.lay()
        for box in (place.box(), place.box(f"new-{number}")):
            assert _outcome(box, place.folder) in ("1.3.0", "refused")
            assert box.known() in ("", "1.2.0", "1.3.0")


def test_the_newest_root_alone_is_believed(tmp_path: Path) -> None:
    """Of two repositories: the metadata of the other are strangers', whatever their versions are."""
    one, other = (
        Place(tmp_path / "a"),
        Place(tmp_path / "b", Repository(datetime.fromisoformat("2026-03-01T13:00:00+00:00"))),
    )
    one.release("1.2.0")
    other.release("9.9.9")
    box = one.box()
    box.check(one.folder)
    box.refuses(other.folder, "signature")
