"""A bundle comes whole or not at all, and goes on where it was cut, whatever the server does."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.errors import UpdateError
from edge.update import client, download
from edge.update.client import Client
from edge.update.download import STEP
from edge.update.offer import Bundle, Offer
from edge.update.web import Limit
from tests.support.broker import Authority
from tests.support.static_server import Fault, StaticServer
from tests.support.tuf_repository import START

CONTENT = os.urandom(3 * STEP + 1000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = f"bundles/1.2.0-test-{SHA256[:16]}.raucb"


def offered(content: bytes = CONTENT, url: str = NAME) -> Offer:
    bundle = Bundle(url=url, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    return Offer(version="1.2.0", channel="stable", hardware=("endoedge-test",), bundle=bundle)


class Asker:
    """`part`, `whole`: the files of CONTENT."""

    def __init__(self, folder: Path, ca: Path | None = None) -> None:
        self.folder = folder / "download"
        self.part, self.whole = self.folder / f"{SHA256}.part", self.folder / f"{SHA256}.raucb"
        self._client = Client(folder, b"", START, ca)
        self.told: list[tuple[int, int]] = []

    def get(self, base: object, offer: Offer | None = None, after: int = -1) -> Path:
        """`after`: it is told to stop when so much is there."""
        self.told.clear()

        def told(have: int, size: int) -> None:
            self.told.append((have, size))

        def stop() -> bool:
            return after >= 0 and bool(self.told) and self.told[-1][0] >= after

        return self._client.download(offer or offered(), str(base), told, stop)

    def fails(self, base: object, code: str, offer: Offer | None = None, after: int = -1) -> str:
        with pytest.raises(UpdateError) as found:
            self.get(base, offer, after)
        assert found.value.code == code, found.value
        assert not self.whole.exists()
        return str(found.value)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def asker(tmp_path: Path) -> Asker:
    return Asker(tmp_path / "box")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "repository" / "bundles").mkdir(parents=True)
    (tmp_path / "repository" / "metadata").mkdir()
    (tmp_path / "repository" / NAME).write_bytes(CONTENT)
    return tmp_path / "repository"


@pytest.fixture
def server(base: Path) -> Iterator[StaticServer]:
    with StaticServer(base) as running:
        yield running


def test_it_comes_whole(asker: Asker, server: StaticServer) -> None:
    assert asker.get(server.url) == asker.whole
    assert asker.whole.read_bytes() == CONTENT
    assert asker.files() == [asker.whole.name]
    assert [have for have, _ in asker.told] == [0, STEP, 2 * STEP, 3 * STEP, len(CONTENT)]


def test_from_a_stick(asker: Asker, base: Path) -> None:
    asker.fails(base, "stopped", after=2 * STEP)
    assert asker.get(base).read_bytes() == CONTENT
    assert asker.told[0] == (STEP, len(CONTENT))


def test_what_is_there_is_not_fetched_again(asker: Asker, server: StaticServer) -> None:
    asker.get(server.url)
    asker.get(server.url)
    assert len(server.requests) == 1
    asker.whole.write_bytes(CONTENT[:-1] + b"?")  # damaged since
    assert asker.get(server.url).read_bytes() == CONTENT


def test_what_belongs_to_another_is_removed(asker: Asker, server: StaticServer) -> None:
    asker.folder.mkdir(parents=True)
    for name in ("0f" * 32 + ".part", "0e" * 32 + ".raucb", "somebody.elses"):
        (asker.folder / name).write_bytes(b"x")
    asker.get(server.url)
    assert asker.files() == sorted([asker.whole.name, "somebody.elses"])


@pytest.mark.parametrize("have", [0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP, 3 * STEP + 1, len(CONTENT) - 1])
def test_it_goes_on_from_what_was_synced(asker: Asker, server: StaticServer, have: int) -> None:
    asker.folder.mkdir(parents=True)
    asker.part.write_bytes(CONTENT[:have])
    assert asker.get(server.url).read_bytes() == CONTENT
    synced = max(0, have - 1) // STEP * STEP
    assert server.requests[0].range == (f"bytes={synced}-" if synced else "")
    assert server.sent() == len(CONTENT) - synced


def test_a_tail_that_a_power_cut_spoiled_is_fetched_again(asker: Asker, server: StaticServer) -> None:
    asker.folder.mkdir(parents=True)
    asker.part.write_bytes(CONTENT[:STEP] + bytes(2000))
    assert asker.get(server.url).read_bytes() == CONTENT
    asker.whole.rename(asker.part)
    with asker.part.open("r+b") as file:
        file.seek(3 * STEP)
        file.write(bytes(1000))  # whole by its length
    assert asker.get(server.url).read_bytes() == CONTENT
    assert server.requests[-1].sent == 1000


def test_whole_before_it_got_its_name(asker: Asker, server: StaticServer) -> None:
    asker.folder.mkdir(parents=True)
    asker.part.write_bytes(CONTENT)
    assert asker.get(server.url) == asker.whole
    assert server.requests == []


def test_a_part_that_is_longer_than_the_whole_is_none(asker: Asker, server: StaticServer) -> None:
    asker.folder.mkdir(parents=True)
    asker.part.write_bytes(CONTENT + b"?")
    assert asker.get(server.url).read_bytes() == CONTENT


@pytest.mark.parametrize("cut", [0, 1, STEP, STEP + 50_000])
def test_a_connection_that_is_reset(asker: Asker, server: StaticServer, cut: int) -> None:
    server.faults["bundles/*"] = Fault(cut_after=cut, times=1)
    asker.fails(server.url, "unreachable")
    assert CONTENT.startswith(asker.part.read_bytes())
    assert asker.get(server.url).read_bytes() == CONTENT
    assert server.sent() - len(CONTENT) <= 1_000_000


def test_stopped_and_taken_up_again(asker: Asker, server: StaticServer) -> None:
    assert "what came is kept" in asker.fails(server.url, "stopped", after=2 * STEP)
    assert asker.part.stat().st_size == 2 * STEP
    asker.fails(server.url, "stopped", after=0)
    assert asker.get(server.url).read_bytes() == CONTENT


# -------------------------------------------------------------------------------------- odd servers


def test_a_server_that_knows_no_ranges(asker: Asker, server: StaticServer) -> None:
    """What is there already is passed over as it comes, and not lost when that is cut, too."""
    asker.folder.mkdir(parents=True)
    asker.part.write_bytes(CONTENT[: 2 * STEP + 1])
    server.faults["bundles/*"] = Fault(knows_ranges=False, cut_after=STEP, times=1)
    asker.fails(server.url, "unreachable")
    assert asker.part.stat().st_size == 2 * STEP + 1
    server.faults["bundles/*"] = Fault(knows_ranges=False)
    assert asker.get(server.url).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", [Fault(chunked=True), Fault(says_nothing=True)], ids=["chunked", "until it ends"])
def test_a_server_that_does_not_say_how_much(asker: Asker, server: StaticServer, fault: Fault) -> None:
    server.faults["bundles/*"] = fault
    assert asker.get(server.url).read_bytes() == CONTENT


@pytest.mark.parametrize("resumed", [False, True])
def test_other_bytes_are_thrown_away(asker: Asker, server: StaticServer, resumed: bool) -> None:
    if resumed:
        asker.folder.mkdir(parents=True)
        asker.part.write_bytes(bytes(2 * STEP))
    else:
        server.faults["bundles/*"] = Fault(content=CONTENT[:-1] + b"?", times=1)
    assert "another one than was signed for" in asker.fails(server.url, "bundle")
    assert asker.files() == []
    assert asker.get(server.url).read_bytes() == CONTENT


@pytest.mark.parametrize("chunked", [False, True])
def test_endless_data(asker: Asker, server: StaticServer, chunked: bool) -> None:
    """So many bytes as were signed for, and no more, on the disk and from the line."""
    server.faults["bundles/*"] = Fault(content=b"evil", endless=True, chunked=chunked)
    asker.fails(server.url, "bundle")
    assert server.sent() <= len(CONTENT) + 1_000_000
    assert asker.files() == []
    server.faults["bundles/*"] = Fault(endless=True, chunked=chunked)
    assert asker.get(server.url).read_bytes() == CONTENT  # the right ones, and zeros after them


@pytest.mark.parametrize("content", [CONTENT + b"more", CONTENT[:-1], b""])
def test_a_file_of_another_length_is_not_begun(asker: Asker, server: StaticServer, content: bytes) -> None:
    server.faults["bundles/*"] = Fault(content=content)
    assert f"and {len(CONTENT)} were signed for" in asker.fails(server.url, "bundle")
    assert asker.part.stat().st_size == 0


def test_a_server_whose_file_is_shorter_than_our_part(asker: Asker, server: StaticServer) -> None:
    """416: asked for the whole, it says that there is less than was signed for."""
    asker.fails(server.url, "stopped", after=2 * STEP)
    server.faults["bundles/*"] = Fault(content=CONTENT[:1000])
    asker.fails(server.url, "bundle")
    assert [one.status for one in server.requests[-2:]] == [416, 200]
    server.faults.clear()
    assert asker.get(server.url).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "says", ["bytes 0-1573863/1573864", "bytes */1573864", "lines 1-2/3", "bytes 524287-9/1573864"]
)
def test_a_server_that_sends_another_part(asker: Asker, server: StaticServer, says: str) -> None:
    asker.fails(server.url, "stopped", after=2 * STEP)
    server.faults["bundles/*"] = Fault(says_range=says, times=1)
    assert "another part came" in asker.fails(server.url, "unreachable")
    assert asker.get(server.url).read_bytes() == CONTENT


def test_a_server_that_refuses_every_range(asker: Asker, server: StaticServer) -> None:
    asker.fails(server.url, "stopped", after=2 * STEP)
    server.faults["bundles/*"] = Fault(status=416, times=1)
    assert asker.get(server.url).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "code"), [(503, "unreachable"), (500, "unreachable"), (404, "absent"), (416, "unreachable")]
)
def test_a_server_that_does_not_give_it(asker: Asker, server: StaticServer, status: int, code: str) -> None:
    asker.fails(server.url, "stopped", after=2 * STEP)
    server.faults["bundles/*"] = Fault(status=status)
    assert str(status) in asker.fails(server.url, code)
    server.faults.clear()
    assert asker.get(server.url).read_bytes() == CONTENT


@pytest.mark.parametrize("headers", [False, True])
def test_too_slow_is_given_up_and_kept(
    asker: Asker, server: StaticServer, headers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker.fails(server.url, "stopped", after=2 * STEP)
    monkeypatch.setattr(client, "BUNDLE", Limit(seconds=1.0, quota=100_000))
    server.faults["bundles/*"] = Fault(drip_s=0.05, drip_headers=headers)
    assert "too slow" in asker.fails(server.url, "slow")
    assert asker.part.stat().st_size >= (0 if headers else STEP)
    server.faults.clear()
    assert asker.get(server.url).read_bytes() == CONTENT


def test_long_is_not_slow(asker: Asker, server: StaticServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it takes longer than the limit, and each part of it does not."""
    monkeypatch.setattr(client, "BUNDLE", Limit(seconds=2.0, quota=10))
    content = bytes(150)
    server.faults["bundles/*"] = Fault(content=content, drip_s=0.02)
    asker.get(server.url, offered(content))


# ------------------------------------------------------------------------------------------ the disk


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "box" / "download"
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small tmpfs here (needs root): {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_without_room_is_said_before(asker: Asker, server: StaticServer, small: Path) -> None:
    (small / "other").write_bytes(bytes(3 << 20))
    assert "make room" in asker.fails(server.url, "disk")
    assert server.requests == []
    (small / "other").unlink()
    assert asker.get(server.url).read_bytes() == CONTENT


def test_a_disk_that_becomes_full_meanwhile(small: Path, tmp_path: Path, server: StaticServer) -> None:
    filled: list[int] = []

    def fill(have: int, _size: int) -> None:
        if have == 2 * STEP and not filled:
            with (small / "other").open("wb", buffering=0) as other:
                while count := _written(other.fileno()):
                    filled.append(count)

    asked = Client(tmp_path / "box", b"", START)
    with pytest.raises(UpdateError, match="the disk is full; what came is kept") as found:
        asked.download(offered(), server.url, fill)
    assert found.value.code == "disk"
    assert filled
    (small / "other").unlink()
    assert asked.download(offered(), server.url, lambda _have, _size: None).read_bytes() == CONTENT
    assert server.requests[-1].range == f"bytes={STEP}-"


def _written(number: int) -> int:
    try:
        return os.write(number, bytes(4096))
    except OSError:
        return 0


# ------------------------------------------------------------------------------------- where it lies


@pytest.mark.parametrize(
    "url",
    [
        "../x",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://host/x",
        "ftp://host/x",
        "a//b",
        "a/./b",
        "a/%2e%2e/b",
        "//host/x",
        "https:///x",
        "a\\b?c",
        "a#b",
        "a\nb",
        "HTTPS://host/x",
    ],
)
def test_an_offer_leads_nowhere_else(asker: Asker, base: Path, server: StaticServer, url: str) -> None:
    for where in (base, server.url):
        assert "expected the name of a file beneath the repository" in asker.fails(where, "malformed", offered(url=url))
    assert server.requests == []


def test_an_https_address_of_its_own(tmp_path: Path, base: Path) -> None:
    authority = Authority(tmp_path)
    with StaticServer(base, authority.issue("cdn")) as cdn:
        asker = Asker(tmp_path / "box", authority.ca)
        assert asker.get("/media/nothing", offered(url=f"{cdn.url}/{NAME}")).read_bytes() == CONTENT


def test_links_and_devices_on_a_stick(asker: Asker, base: Path, tmp_path: Path) -> None:
    file = base / NAME
    elsewhere = file.rename(tmp_path / "elsewhere")
    file.symlink_to(elsewhere)
    assert "leads out of the folder" in asker.fails(base, "malformed")
    file.unlink()
    os.mkfifo(file)
    assert "expected a file" in asker.fails(base, "malformed")
    file.unlink()
    elsewhere.rename(base / "inside")
    file.symlink_to(base / "inside")
    assert asker.get(base).read_bytes() == CONTENT


def test_a_stick_that_is_pulled_out_meanwhile(asker: Asker, base: Path, tmp_path: Path) -> None:
    asker.fails(base, "stopped", after=STEP)
    away = base.rename(tmp_path / "away")
    assert "is the stick in?" in asker.fails(base, "unreachable")
    away.rename(base)
    assert asker.get(base).read_bytes() == CONTENT


def test_a_part_is_never_followed_elsewhere(asker: Asker, base: Path, tmp_path: Path) -> None:
    asker.folder.mkdir(parents=True)
    (tmp_path / "victim").write_bytes(b"precious")
    asker.part.symlink_to(tmp_path / "victim")
    asker.fails(base, "disk")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_pieces_end_at_each_step() -> None:
    """That the length of a part says what was synced rests on it."""
    assert STEP % download.PIECE == 0
    assert STEP + 262_144 + download.PIECE < 1_000_000  # with what a socket's buffer holds (edge/update/web.py)


def test_one_kill_after_the_other_before_anything_comes(asker: Asker, server: StaticServer) -> None:
    """What is certain stays so, however often it is begun."""
    asker.folder.mkdir(parents=True)
    asker.part.write_bytes(CONTENT[: 2 * STEP + 1])
    server.faults["bundles/*"] = Fault(cut_after=0, times=5)
    for _ in range(5):
        asker.fails(server.url, "unreachable")
    assert asker.get(server.url).read_bytes() == CONTENT
    assert {one.range for one in server.requests} == {f"bytes={2 * STEP}-"}
