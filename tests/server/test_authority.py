"""Boxes' certificates: made, shown over real TLS, renewed, revoked."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fastapi import FastAPI

from edge import cli as box_cli
from edge.cli import assemble
from edge.cli.checks import reports as reports_row
from edge.errors import UplinkError
from server import audit, authority, cli, enrolment
from server.authority import Authority
from server.config import Config, Http
from server.errors import RefusedError, ServerError
from server.store.database import Database
from tests.support import broker, people

PEM = serialization.Encoding.PEM


class _Box:
    """Its key, and what it was given."""

    def __init__(self, folder: Path, name: str = "or-3", curve: ec.EllipticCurve | None = None) -> None:
        self.key = ec.generate_private_key(curve or ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "administrator")])  # nobody looks at it
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.key, hashes.SHA256())
        self.csr = request.public_bytes(PEM).decode()

    def keep(self, chain: str) -> x509.Certificate:
        format_, nobody = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        self.file.write_bytes(self.key.private_bytes(PEM, format_, nobody) + chain.encode())
        return x509.load_pem_x509_certificate(chain.encode())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    authority.init(tmp_path / "data", "EndoEdge boxes")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[broker.Authority, Http]:
    if reason := broker.missing_tools():
        pytest.skip(reason)
    hospital = broker.Authority(tmp_path_factory.mktemp("tls"))
    mine = hospital.issue("reports")
    return hospital, Http(port=0, certificate=str(mine.cert), key=str(mine.key))


def _app(database: Database, data: Path) -> FastAPI:
    """As if it were served with TLS."""
    return people.application(database, Config(data_dir=str(data), http=Http(certificate="reports.pem")))


class _Server:
    """As boxes reach it."""

    def __init__(self, url: str, hospital: broker.Authority, database: Database) -> None:
        self.url, self.database, self.ca = url, database, hospital.ca

    def ask(self, method: str, path: str, box: _Box | None = None, **more: object) -> httpx.Response:
        """A connection of its own."""
        trusts = ssl.create_default_context(cafile=str(self.ca))
        if box is not None and box.file.exists():
            trusts.load_cert_chain(box.file)
        with httpx.Client(verify=trusts, base_url=self.url, trust_env=False, timeout=20) as client:
            return client.request(method, path, **more)  # type: ignore[arg-type]

    def enrol(self, box: _Box, device: str = "or-3") -> x509.Certificate:
        code = enrolment.make_code(self.database, device, "ada")
        answer = self.ask("POST", "/v1/enrol", json={"device": device, "code": code, "csr": box.csr})
        assert answer.status_code == 201, answer.text
        assert list(answer.json()) == ["certificate"]
        return box.keep(answer.json()["certificate"])


@pytest.fixture
def server(database: Database, data: Path, tls: tuple[broker.Authority, Http]) -> Iterator[_Server]:
    hospital, http = tls
    with people.served(_app(database, data), http, authority.certificate_file(data)) as url:
        yield _Server(url, hospital, database)


def test_a_box_shows_its_certificate_and_is_known(server: _Server, tmp_path: Path) -> None:
    box = _Box(tmp_path)
    made = server.enrol(box)
    assert server.ask("GET", "/v1/box", box).json()["device"] == "or-3"
    assert server.ask("GET", "/v1/box").status_code == 401  # nothing was shown: TLS is no obstacle to people
    (known,) = enrolment.boxes(server.database)
    assert known.certificate == made.fingerprint(hashes.SHA256()).hex()


def test_what_a_certificate_says(data: Path, tmp_path: Path) -> None:
    ours = Authority(data)
    box = _Box(tmp_path)
    chain, digest = ours.certify("or-3", box.csr)
    first = x509.load_pem_x509_certificate(chain.encode())
    assert chain.encode().endswith(ours.certificate.public_bytes(PEM))
    assert first.fingerprint(hashes.SHA256()).hex() == digest
    spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    assert first.public_key().public_bytes(*spki) == box.key.public_key().public_bytes(*spki)
    assert first.subject.rfc4514_string() == "CN=or-3"
    extensions = first.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:endoedge:box:or-3"]
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    now = datetime.now(timezone.utc)
    assert timedelta(days=364) < _utc(first, "not_valid_after") - now <= timedelta(days=365)
    assert _utc(first, "not_valid_before") < now - timedelta(minutes=30)
    assert Authority(data).certify("or-3", box.csr)[1] != digest


def _utc(certificate: x509.Certificate, which: str) -> datetime:
    """Newer versions of the library warn where older ones have no other name."""
    found = getattr(certificate, f"{which}_utc", None) or getattr(certificate, which).replace(tzinfo=timezone.utc)
    assert isinstance(found, datetime)
    return found


def test_a_certificate_is_renewed_and_the_old_one_lasts_until_then(server: _Server, tmp_path: Path) -> None:
    old, lost, new = _Box(tmp_path, "old"), _Box(tmp_path, "lost"), _Box(tmp_path, "new")
    server.enrol(old)
    assert server.ask("POST", "/v1/renew", old, json={"csr": lost.csr}).status_code == 201  # did not arrive
    answer = server.ask("POST", "/v1/renew", old, json={"csr": new.csr})
    assert answer.status_code == 201
    new.keep(answer.json()["certificate"])
    assert server.ask("GET", "/v1/box", old).json()["device"] == "or-3"
    assert server.ask("GET", "/v1/box", new).json()["device"] == "or-3"
    assert server.ask("GET", "/v1/box", old).status_code == 401
    assert server.ask("POST", "/v1/renew", old, json={"csr": old.csr}).status_code == 401
    with server.database.read() as connection:
        whats = [row.what for row in audit.lines(connection)]
    assert whats == ["box.code", "box.enrol", "box.renew", "box.renew", "box.renewed"]


def test_a_box_that_is_revoked_is_out_with_its_certificate(server: _Server, tmp_path: Path) -> None:
    box = _Box(tmp_path)
    server.enrol(box)
    enrolment.revoke(server.database, "or-3", by="ada")
    assert server.ask("GET", "/v1/box", box).status_code == 401
    assert server.ask("POST", "/v1/renew", box, json={"csr": box.csr}).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_whoever_has_a_token_gets_no_certificate_for_it(server: _Server, tmp_path: Path) -> None:
    token = enrolment.enrol(server.database, "or-3", enrolment.make_code(server.database, "or-3", "ada"))
    headers = {"Authorization": f"Bearer {token}"}
    answer = server.ask("POST", "/v1/renew", headers=headers, json={"csr": _Box(tmp_path).csr})
    assert answer.status_code == 401
    assert server.ask("GET", "/v1/box", headers=headers).json()["device"] == "or-3"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_certificate_of_another_authority_is_refused_by_tls(
    server: _Server, tls: tuple[broker.Authority, Http], tmp_path: Path
) -> None:
    foreign = tls[0].issue("or-3")
    box = _Box(tmp_path)
    server.enrol(_Box(tmp_path, "true"))
    box.file.write_bytes(foreign.key.read_bytes() + foreign.cert.read_bytes())
    with pytest.raises(httpx.TransportError):
        server.ask("GET", "/v1/box", box)


def test_a_certificate_that_the_table_does_not_know_is_of_no_box(server: _Server, data: Path, tmp_path: Path) -> None:
    """Whoever got hold of the authority's key alone."""
    server.enrol(_Box(tmp_path, "true"))
    box = _Box(tmp_path)
    box.keep(Authority(data).certify("or-3", box.csr)[0])
    assert server.ask("GET", "/v1/box", box).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_two_boxes_are_told_apart(server: _Server, tmp_path: Path) -> None:
    first, second = _Box(tmp_path, "first"), _Box(tmp_path, "second")
    server.enrol(first, "or-1")
    server.enrol(second, "or-2")
    assert server.ask("GET", "/v1/box", first).json()["device"] == "or-1"
    assert server.ask("GET", "/v1/box", second).json()["device"] == "or-2"


def _damaged(csr: str) -> str:
    """Signed by nobody."""
    der = bytearray(x509.load_pem_x509_csr(csr.encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_no_request_is_refused_and_the_code_stays_good(database: Database, data: Path, tmp_path: Path) -> None:
    client = people.browser(_app(database, data))
    code = enrolment.make_code(database, "or-3", "ada")
    name = x509.Name([])
    rsa_key = rsa.generate_private_key(65537, 2048)
    by_rsa = x509.CertificateSigningRequestBuilder().subject_name(name).sign(rsa_key, hashes.SHA256())
    good = _Box(tmp_path).csr
    for csr, why in [
        ("x", "expected a certificate signing request"),
        (good[:200], "expected a certificate signing request"),
        ("\ud7ff" * 50, "expected a certificate signing request"),
        (by_rsa.public_bytes(PEM).decode(), "on the curve P-256"),
        (_Box(tmp_path, curve=ec.SECP384R1()).csr, "on the curve P-256"),
        (_damaged(good), "csr: "),
        (good * 25, "Expected `str` of length <= 8192"),
    ]:
        answer = client.post("/v1/enrol", json={"device": "or-3", "code": code, "csr": csr})
        assert (answer.status_code, why in answer.json()["error"]) == (400, True), answer.text
    assert client.post("/v1/enrol", json={"device": "or-3", "code": "x", "csr": good}).status_code == 403
    assert client.post("/v1/enrol", json={"device": "or-3", "code": code, "csr": good}).status_code == 201


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_an_authority_a_code_is_not_spent_on_a_certificate(database: Database, tmp_path: Path) -> None:
    client = people.browser(_app(database, tmp_path / "data"))
    code = enrolment.make_code(database, "or-3", "ada")
    asked = {"device": "or-3", "code": code}
    answer = client.post("/v1/enrol", json={**asked, "csr": _Box(tmp_path).csr})
    assert (answer.status_code, "authority init" in answer.json()["error"]) == (409, True)
    assert client.post("/v1/enrol", json=asked).status_code == 201


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_behind_a_proxy_that_does_tls_a_code_is_not_spent_on_a_certificate(
    database: Database, data: Path, tmp_path: Path
) -> None:
    client = people.browser(people.application(database, Config(data_dir=str(data))))
    asked = {"device": "or-3", "code": enrolment.make_code(database, "or-3", "ada")}
    answer = client.post("/v1/enrol", json={**asked, "csr": _Box(tmp_path).csr})
    assert (answer.status_code, "TLS ends before this server" in answer.json()["error"]) == (409, True)
    assert client.post("/v1/enrol", json=asked).status_code == 201


def test_an_authority_is_made_once(data: Path) -> None:
    assert (data / "authority" / "key.pem").stat().st_mode & 0o077 == 0
    kept = (data / "authority" / "ca.pem").read_bytes()
    with pytest.raises(ServerError, match="there is an authority"):
        authority.init(data, "another")
    assert (data / "authority" / "ca.pem").read_bytes() == kept


def test_an_authority_that_is_damaged_is_named(data: Path, tmp_path: Path) -> None:
    authority.init(tmp_path / "other", "other")
    (data / "authority" / "key.pem").write_bytes((tmp_path / "other" / "authority" / "key.pem").read_bytes())
    with pytest.raises(ServerError, match=r"key\.pem is not the key of ca\.pem"):
        Authority(data)
    (data / "authority" / "key.pem").write_text("x")
    with pytest.raises(ServerError, match=r"expected key\.pem and ca\.pem"):
        Authority(data)
    (data / "authority" / "key.pem").unlink()
    with pytest.raises(ServerError, match=r"key\.pem: No such file"):
        Authority(data)
    with pytest.raises(RefusedError):
        enrolment.check_device("a/b")


def test_the_command_makes_it_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "server.toml"
    config.write_text('data_dir = "data"\n')
    assert cli.main(["--config", str(config), "authority", "init"]) == 0
    assert "data/authority/ca.pem: made" in capsys.readouterr().out
    assert cli.main(["--config", str(config), "authority", "init"]) == 1
    assert "there is an authority" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- the box's own commands


class _Site:
    """A box's configuration, and what it keeps."""

    def __init__(self, folder: Path, server: _Server) -> None:
        self.kept = folder / "credentials" / "report-certificate"
        self.file = folder / "endoedge.toml"
        self.file.write_text(
            'device = "or-3"\npipeline = "colonoscopy"\n[capture]\nsource = "phantom"\n[uplink]\n'
            f'[uplink.reports]\nurl = "{server.url}"\nca = "{server.ca}"\n'
            'certificate_file = "credentials/report-certificate"\n'
        )

    def enrol(self, *words: str) -> int:
        return box_cli.main(["enrol", *words, "-c", str(self.file)])

    def known(self) -> object:
        """As the box's self-test asks."""
        site = assemble.load_site(self.file)
        assert site.uplink.reports is not None
        return reports_row.report_server(site, site.uplink.reports)


def test_a_box_enrols_and_renews_by_its_own_commands(server: _Server, tmp_path: Path) -> None:
    site = _Site(tmp_path, server)
    code = enrolment.make_code(server.database, "or-3", "ada")
    assert site.enrol(server.url, code, "--certificate") == 0
    first = site.kept.read_bytes()
    assert f"{server.url} knows or-3" in str(site.known())
    assert site.enrol("--renew") == 0
    assert site.kept.read_bytes() != first
    assert f"{server.url} knows or-3" in str(site.known())
    site.kept.write_bytes(first)  # the new one was shown: this one is good no longer
    with pytest.raises(UplinkError, match=r"401|token|certificate"):
        site.known()
    assert [box.device for box in enrolment.boxes(server.database)] == ["or-3"]
