"""The way to a repository's server: authorities, redirects, proxies."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.errors import UpdateError
from edge.update import client, web
from edge.update.web import Limit
from tests.support.broker import Authority, free_port
from tests.support.proxy import proxy
from tests.support.static_server import Fault, StaticServer
from tests.support.update_box import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.release("1.2.0")
    return made


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secure(place: Place, authority: Authority) -> Iterator[StaticServer]:
    with StaticServer(place.folder, authority.issue("updates")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_an_authority_of_the_sites_own(place: Place, authority: Authority, secure: StaticServer) -> None:
    assert place.box(ca=authority.ca).check(secure.url).offer.version == "1.2.0"


def test_a_certificate_that_does_not_hold(
    place: Place, authority: Authority, secure: StaticServer, tmp_path: Path
) -> None:
    assert "its certificate does not hold" in place.box().refuses(secure.url, "unreachable")  # not the system's
    named = secure.url.replace("127.0.0.1", "localhost")
    place.box(ca=authority.ca).check(named)
    with StaticServer(place.folder, authority.issue("other", san="DNS:elsewhere")) as other:
        assert "does not hold" in place.box(ca=authority.ca).refuses(other.url, "unreachable")
    with StaticServer(place.folder, authority.issue("old", expired=True)) as old:
        assert "clock" in place.box(ca=authority.ca).refuses(old.url, "unreachable")


def test_a_file_of_authorities_that_is_none(place: Place, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for ca in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        with pytest.raises(UpdateError, match="expected certificates of authorities, PEM"):
            place.box(ca=ca).check("https://127.0.0.1:1")


def test_redirects(place: Place, authority: Authority, secure: StaticServer) -> None:
    """To where it is more secure, or as secure; never to where it is less so."""
    box = place.box(ca=authority.ca)
    with StaticServer(place.folder) as plain:
        plain.faults["metadata/timestamp.json"] = Fault(redirect=f"{secure.url}/metadata/timestamp.json")
        assert box.check(plain.url).offer.version == "1.2.0"
        plain.faults["metadata/timestamp.json"] = Fault(redirect="../metadata/./timestamp.json", times=2)
        assert box.check(plain.url).offer.version == "1.2.0"
        plain.faults.clear()
        secure.faults["metadata/timestamp.json"] = Fault(redirect=f"{plain.url}/metadata/timestamp.json")
        assert "expected https" in box.refuses(secure.url, "unreachable")
        for where in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
            plain.faults["metadata/timestamp.json"] = Fault(redirect=where)
            assert "it points to" in box.refuses(plain.url, "unreachable")
        plain.faults["metadata/timestamp.json"] = Fault(redirect="timestamp.json")
        assert "more than 3 redirects" in box.refuses(plain.url, "unreachable")


def test_a_proxy_of_the_environment(
    place: Place, authority: Authority, secure: StaticServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, nobody = place.box(ca=authority.ca), f"http://127.0.0.1:{free_port()}"
    with StaticServer(place.folder) as plain, proxy("127.0.0.1") as there:
        for name, server in (("HTTP_PROXY", plain), ("HTTPS_PROXY", secure)):
            monkeypatch.setenv(name, nobody)
            box.refuses(server.url, "unreachable")
            monkeypatch.setenv(name, there)
            assert box.check(server.url).offer.version == "1.2.0"
            monkeypatch.setenv(name, nobody)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            assert box.check(server.url).offer.version == "1.2.0"
            monkeypatch.delenv("NO_PROXY")
            monkeypatch.setenv(name, there.removeprefix("http://"))
            assert box.check(server.url).offer.version == "1.2.0"
            monkeypatch.delenv(name)


def test_silence_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SILENCE_S", 0.3)
    with StaticServer(place.folder) as server:
        server.faults["metadata/timestamp.json"] = Fault(drip_s=30)
        assert "said nothing for 0.3 s" in place.box().refuses(server.url, "slow")


def test_a_handshake_that_drips(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS record, byte by byte: no library's time-out ends it."""
    monkeypatch.setattr(client, "CHECK", Limit(seconds=1.0))
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        made, _ = listener.accept()
        with made, contextlib.suppress(OSError):
            made.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
            while not over.wait(0.1):
                made.sendall(b"\0")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        assert "too slow" in place.box().refuses(f"https://127.0.0.1:{listener.getsockname()[1]}", "slow")
        over.set()
        thread.join()


def test_one_connection_serves_a_check(place: Place) -> None:
    with StaticServer(place.folder) as server:
        place.box().check(server.url)
        assert server.connections == 1


def test_nothing_older_than_tls_1_2(place: Place, authority: Authority) -> None:
    assert web._trusts(authority.ca).minimum_version is ssl.TLSVersion.TLSv1_2
