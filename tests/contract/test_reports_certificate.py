"""A box that is known by its certificate: enrolment, uploads, renewal, over real TLS. The key never leaves the box, and
whatever breaks off, what it had before still works."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edge import cli
from edge.cli import assemble
from edge.cli.checks import reports as row
from edge.cli.checks.trying import Advice
from edge.cli.site import read_site
from edge.errors import UplinkError
from edge.uplink import credentials, reports
from edge.uplink.identity import Request
from edge.uplink.reports import Reports
from tests.support.broker import Authority, missing_tools
from tests.support.procedures import lay
from tests.support.report_server import CODE, TOKEN, ReportServer, serving
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())


class World:
    """A site, a server with its two authorities, and what the box keeps."""

    def __init__(self, folder: Path, server: ReportServer, authority: Authority) -> None:
        self.folder, self.server, self.authority = folder, server, authority
        self.place = folder / "credentials" / "report-certificate"
        self.file = folder / "endoedge.toml"
        self.configure(certificate_file="credentials/report-certificate")

    def configure(self, **more: str) -> None:
        table = {"url": self.server.url, "ca": str(self.authority.ca)} | more
        lines = "".join(f'{key} = "{value}"\n' for key, value in table.items())
        self.file.write_text(
            'device = "box-1"\npipeline = "colonoscopy"\n[capture]\nsource = "phantom"\n[uplink]\nhost = "localhost"\n'
            f"[uplink.reports]\nretry_min_s = 0.05\nretry_max_s = 0.1\n{lines}"
        )

    def run(self, *arguments: str) -> int:
        return cli.main(["enrol", *arguments, "-c", str(self.file)])

    def enrol(self, *more: str) -> int:
        return self.run(self.server.url, CODE, *more)

    def knows(self) -> str | Advice:
        """As the self-test asks. Raises UplinkError."""
        site = assemble.load_site(self.file)
        assert site.uplink.reports is not None
        return row.report_server(site, site.uplink.reports)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    authority, clients = Authority(tmp_path), Authority(tmp_path, "boxes", days=99)
    with serving(authority.issue("server", days=90), clients=clients) as server:
        yield World(tmp_path, server, authority)


def test_a_code_becomes_a_certificate_of_a_key_that_stays(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.configure()
    assert world.enrol("--certificate") == 0
    said = capsys.readouterr().out
    assert "its key and certificate are in" in said
    assert 'certificate_file = "credentials/report-certificate"' in said
    assert stat.S_IMODE(world.place.stat().st_mode) == 0o600
    content = world.place.read_bytes()
    key = load_pem_private_key(content, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert content.count(b"BEGIN CERTIFICATE") == 2  # and who signed it
    (csr,) = world.folder.glob("signed-*.csr")
    request = x509.load_pem_x509_csr(csr.read_bytes())
    assert request.subject.rfc4514_string() == "CN=box-1"
    assert not [file for file in world.folder.glob("*.csr") if b"PRIVATE" in file.read_bytes()]
    assert list(world.place.parent.iterdir()) == [world.place]  # no token, nothing half written
    world.configure(certificate_file="credentials/report-certificate")
    assert world.knows() == f"{world.server.url} knows box-1; its certificate 89 days; ours 89 days"


def test_uploads_by_certificate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "LOOK_S", 0.05)
    lay(world.folder / "spool", "run-1")
    config = read_site(world.file).uplink.reports
    assert config is not None
    upload = Reports(config, world.folder / "spool")
    try:
        wait_for(lambda: upload.status().fault, "there is none yet")
        assert upload.status().fault.endswith(
            "No such file or directory; `endoedge enrol --certificate` gets one from the server"
        )
        assert upload.status().permanent
        assert world.enrol() == 0  # the configuration says that it is to be a certificate
        wait_for(lambda: upload.status().sent == 1, "it is sent")
        world.server.certificates.clear()
        lay(world.folder / "spool", "run-2")
        wait_for(lambda: "401" in upload.status().fault, "it is revoked")
    finally:
        upload.close()
    assert "run-2" not in world.server.records


def test_renewed_by_the_present_one(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.enrol() == 0
    first = world.place.read_bytes()
    assert world.run("--renew") == 0
    assert "systemctl restart" in capsys.readouterr().out
    second = world.place.read_bytes()
    assert first.split(b"-----END PRIVATE KEY")[0] != second.split(b"-----END PRIVATE KEY")[0]  # another key, too
    assert isinstance(world.knows(), str)
    world.server.certificates.pop(0)  # the server takes the newer one alone from now on
    assert isinstance(world.knows(), str)


@pytest.mark.parametrize("breaks", ["answer lost", "500", "no certificate", "another key", "disk", "killed"])
def test_a_renewal_that_breaks_off_leaves_the_present_one(
    world: World, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    assert world.enrol() == 0
    before, server = world.place.read_bytes(), world.server
    if breaks == "answer lost":
        server.lose = lambda status, path: path == "/v1/renew"
    elif breaks == "500":
        server.fail = lambda method, path: 500 if path == "/v1/renew" else 0
    elif breaks == "no certificate":
        server.say = lambda method, path: (201, b'{"certificate": "nonsense"}') if path == "/v1/renew" else None
    elif breaks == "another key":
        assert server.clients is not None
        other = msgspec.json.encode({"certificate": server.clients.sign(Request("box-1").text.encode()).decode()})
        server.say = lambda method, path: (201, other) if path == "/v1/renew" else None
    else:
        error: BaseException = OSError(28, "No space left on device") if breaks == "disk" else KeyboardInterrupt()

        def replace(self: Path, target: Path) -> Path:
            raise error

        monkeypatch.setattr(Path, "replace", replace)
    assert world.run("--renew") == (130 if breaks == "killed" else 1)
    monkeypatch.undo()
    server.lose, server.fail, server.say = (lambda *_: False), (lambda *_: 0), (lambda *_: None)
    assert world.place.read_bytes() == before
    assert list(world.place.parent.iterdir()) == [world.place]
    assert isinstance(world.knows(), str)


def test_what_is_wrong_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def said(code: int, *arguments: str) -> str:
        assert world.run(*arguments) == code
        return capsys.readouterr().err.strip()

    assert said(1, "--renew").endswith("`endoedge enrol --certificate` gets one from the server")
    assert "takes neither URL" in said(2, world.server.url, CODE, "--renew")
    assert "expected URL and CODE, or --renew" in said(2, "--certificate")
    world.configure()
    assert "certificate_file is not set: there is nothing to renew" in said(2, "--renew")
    world.configure(certificate_file="credentials/report-certificate", key_file="credentials/report-key")
    assert "that key is not made here" in said(2, world.server.url, CODE, "--certificate")
    assert world.server.codes == {CODE}
    world.configure(key_file="credentials/report-key")
    with pytest.raises(UplinkError, match="key_file needs certificate_file beside it"):
        world.knows()


def test_a_server_that_makes_none_gives_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority(tmp_path)
    with serving(authority.issue("server")) as server:
        world = World(tmp_path, server, authority)
        world.configure()
        assert world.enrol("--certificate") == 0
        assert "It makes no certificates." in capsys.readouterr().out
        assert (tmp_path / "credentials" / "report-token").read_text() == f"{TOKEN}\n"
        assert not world.place.exists()
        assert isinstance(world.knows(), Advice)
    with serving() as server:
        world = World(tmp_path, server, authority)
        assert world.enrol("--certificate") == 2
        assert "a certificate needs https" in capsys.readouterr().err
        assert server.codes
        with pytest.raises(UplinkError, match="certificate_file needs https"):
            world.knows()


def test_files_of_somebody_elses_authority(world: World) -> None:
    """A hospital that makes keys and certificates itself: two files."""
    clients = world.server.clients
    assert clients is not None
    ours, other, expired = clients.issue("box-1"), clients.issue("box-1"), clients.issue("box-1", expired=True)
    world.configure(certificate_file=str(ours.cert), key_file=str(ours.key))
    with pytest.raises(UplinkError, match="answers 401"):
        world.knows()
    world.server.certificates.append(ssl.PEM_cert_to_DER_cert(ours.cert.read_text()))
    found = world.knows()
    assert isinstance(found, Advice)
    assert found.mend == "`endoedge enrol --renew`"
    world.configure(certificate_file=str(ours.cert), key_file=str(other.key))
    with pytest.raises(UplinkError, match=r"uplink\.reports\.key_file .*: is not the key of certificate_file"):
        world.knows()
    world.configure(certificate_file=str(expired.cert), key_file=str(expired.key))
    with pytest.raises(UplinkError, match=r"\.pem: expired"):
        world.knows()
    strangers = Authority(world.folder, "strangers").issue("box-1", days=60)
    world.configure(certificate_file=str(strangers.cert), key_file=str(strangers.key))
    with pytest.raises(UplinkError, match=r"does not accept this box's certificate \(unknown ca\)"):
        world.knows()


def test_an_expired_one_is_a_state(world: World) -> None:
    """Not told apart by our clock: the server says so."""
    assert world.server.clients is not None
    expired = world.server.clients.issue("box-1", expired=True)
    world.configure(certificate_file=str(expired.cert), key_file=str(expired.key))
    config = read_site(world.file).uplink.reports
    assert config is not None
    lay(world.folder / "spool", "run-1")
    upload = Reports(config, world.folder / "spool")
    try:
        wait_for(lambda: upload.status().fault, "it is said")
        assert upload.status().fault == (
            "does not accept this box's certificate (certificate expired): `endoedge enrol` it anew"
        )
        assert upload.status().permanent
    finally:
        upload.close()
    trusts, token = credentials.report_access(config)
    assert (trusts is not None, token) == (True, "")
