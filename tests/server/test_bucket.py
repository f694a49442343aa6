"""Key frames in S3-compatible storage: a real server over a socket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge.errors import ConfigError
from server.bucket import open_bucket
from server.config import load
from server.errors import ServerError
from server.keep import Folder, opened_keep
from tests.support import s3
from tests.support.broker import Authority, missing_tools
from tests.support.procedures import jpeg
from tests.support.s3 import S3

pytestmark = pytest.mark.skipif(bool(s3.missing()), reason=s3.missing())


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("s3")) as running:
        yield running


def named(seed: str, size: int = 2000) -> tuple[str, bytes]:
    content = jpeg(seed, size)
    return hashlib.sha256(content).hexdigest(), content


def test_what_is_put_is_got_and_once(storage: S3) -> None:
    keep, (sha256, content) = open_bucket(storage.config("ward/frames")), named("a")
    keep.prove()
    assert keep.get(sha256) is None
    for _ in range(2):
        keep.put(sha256, content)
    assert keep.get(sha256) == content
    assert storage.objects()[f"ward/frames/{sha256[:2]}/{sha256}.jpg"] == content
    assert keep.sweep() == 0
    for _ in range(2):
        keep.discard(sha256)
    assert keep.get(sha256) is None


def test_many_at_once(storage: S3) -> None:
    keeps = [open_bucket(storage.config("many")) for _ in range(2)]
    pictures = [named(f"many {number}", 50_000) for number in range(6)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: keeps[at % 2].put(*pictures[at % 6]), range(48)))
        found = list(pool.map(lambda one: keeps[0].get(one[0]), pictures))
    assert found == [content for _, content in pictures]


def test_what_was_put_first_is_not_written_over(storage: S3) -> None:
    """And another content under a digest is an error, not a picture."""
    keep, (sha256, content) = open_bucket(storage.config()), named("b")
    path = f"{sha256[:2]}/{sha256}.jpg"
    storage.spoil(path, b"another")
    keep.put(sha256, content)
    assert storage.objects()[path] == b"another"
    with pytest.raises(ServerError, match=rf"s3://key-frames/{path}: its content is not what its name says"):
        keep.get(sha256)


def test_a_bucket_that_is_not_there_is_named(storage: S3) -> None:
    keep, (sha256, content) = open_bucket(storage.config(url="s3://no-such-bucket")), named("c")
    for ask in (lambda: keep.put(sha256, content), lambda: keep.get(sha256), keep.prove):
        with pytest.raises(ServerError, match="s3://no-such-bucket: "):
            ask()


def test_storage_that_is_away_is_named_and_found_again(tmp_path: Path) -> None:
    sha256, content = named("d")
    with S3(tmp_path) as storage:
        keep = open_bucket(storage.config())
        keep.put(sha256, content)
        storage.stop()
        with pytest.raises(ServerError, match=rf"s3://key-frames/{sha256[:2]}/{sha256}\.jpg: ") as told:
            keep.get(sha256)
        assert "geheim" not in str(told.value)
        storage.start()
        keep.put(sha256, content)
        assert keep.get(sha256) == content


@pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
def test_tls_by_the_authority_that_is_named(tmp_path: Path) -> None:
    authority, (sha256, content) = Authority(tmp_path), named("e")
    with S3(tmp_path, tls=authority.issue("storage")) as storage:
        keep = open_bucket(storage.config(ca=str(authority.ca)))
        keep.put(sha256, content)
        assert keep.get(sha256) == content
        with pytest.raises(ServerError, match="s3://key-frames/"):
            open_bucket(storage.config()).get(sha256)


def test_the_configuration_chooses(storage: S3, tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('data_dir = "data"\n')
    assert isinstance(opened_keep(load(file)), Folder)
    for name in ("key", "secret"):
        (tmp_path / name).write_text("x\n")
    bucket = f'[bucket]\nurl = "s3://key-frames/p"\nendpoint = "{storage.endpoint}"\n'
    file.write_text(bucket + 'key_file = "key"\nsecret_file = "secret"\n')
    opened_keep(load(file)).prove()
    for line, said in (
        ('key_file = "nowhere"', r"bucket\.key_file .*/nowhere: No such file"),
        ('secret_file = "secret"', r"bucket\.key_file \(not set\)"),
        ('ca = "nowhere.pem"', r"bucket\.ca .*/nowhere\.pem: No such file"),
        ('endpoint = "http://storage.example:9000"', "another machine: expected https"),
    ):
        text = bucket if not line.startswith("endpoint") else '[bucket]\nurl = "s3://key-frames"\n'
        file.write_text(f"{text}{line}\n")
        with pytest.raises(ConfigError, match=said):
            opened_keep(load(file))
    for url in ("http://x", "s3://", "s3://UPPER", "s3://bucket/a b"):
        file.write_text(f'[bucket]\nurl = "{url}"\n')
        with pytest.raises(ConfigError, match=r"bucket\.url"):
            load(file)
