"""`endoedge-server check` against real and wrong others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.console.report import Row
from server import checks
from server.cli import main
from server.config import Config, Draft, Export, Http
from server.export.send import Pacs, Web
from server.keep import Folder
from server.store.database import Database, open_database
from server.worker import seated
from tests.support import orthanc
from tests.support.broker import Authority, free_port, missing_tools
from tests.support.orthanc import Orthanc


class Answers(HTTPServer):
    """`said`: path → status and JSON."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.said: dict[str, tuple[int, object]] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        status, content = self.server.said.get(self.path, (404, {}))
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def rows(config: Config, database: Database) -> dict[str, Row]:
    return {row.what: row for row in checks.rows(config, database, Folder(config.folder / "frames"))}


def test_what_is_here(database: Database, tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path))
    found = rows(config, database)
    assert (found["database"].good, found["key frames"].good, found["listener"].good) == (True, True, True)
    assert (found["workers"].good, found["accounts"].good) == (None, False)
    assert [found[what].good for what in ("model", "pacs", "stow", "fhir")] == [None] * 4
    with seated(database, config.folder / "workers"), seated(database, config.folder / "workers"):
        assert rows(config, database)["workers"].found == "2 run now"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_others_that_answer_as_they_should_and_not(database: Database, answers: Answers, tmp_path: Path) -> None:
    web = Web(url=f"{answers.url}/r4")
    config = Config(
        data_dir=str(tmp_path), draft=Draft(url=f"{answers.url}/v1", model="m"), export=Export(fhir=web, stow=web)
    )
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": "4.3.0"}
    good = {
        "/v1/models": (200, {"data": [{"id": "m"}]}),
        "/r4/metadata": (200, statement),
        "/r4/studies?limit=1": (200, []),
    }
    answers.said = dict(good)
    found = rows(config, database)
    assert [found[what].good for what in ("model", "fhir", "stow")] == [True] * 3
    for what, path, status, content, said in (
        ("model", "/v1/models", 401, {}, "answers 401"),
        ("model", "/v1/models", 200, ["m"], "does not answer as an OpenAI-compatible API"),
        ("model", "/v1/models", 200, {"data": [{"id": "other"}]}, "has other"),
        ("fhir", "/r4/metadata", 200, {"resourceType": "Patient"}, "as no FHIR server does"),
        ("fhir", "/r4/metadata", 200, statement | {"fhirVersion": "5.0.0"}, "FHIR 5.0.0"),
        ("stow", "/r4/studies?limit=1", 403, {}, "answers 403"),
    ):
        answers.said = good | {path: (status, content)}
        row = rows(config, database)[what]
        assert (row.good, bool(row.mend)) == (False, True)
        assert said in row.found
    away = f"http://127.0.0.1:{free_port()}"
    config = replace(config, draft=Draft(url=away), export=Export(fhir=Web(url=away), stow=Web(url=away)))
    found = rows(config, database)
    assert [found[what].good for what in ("model", "fhir", "stow")] == [False] * 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing())
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # as below
def test_a_real_pacs(database: Database, tmp_path: Path) -> None:
    def asked(called: str, port: int) -> Row:
        stow = Web(url=f"{pacs.url}/dicom-web")
        export = Export(pacs=Pacs(host="127.0.0.1", port=port, called=called), stow=stow)
        found = rows(Config(data_dir=str(tmp_path), export=export), database)
        assert found["stow"].good
        return found["pacs"]

    with Orthanc(tmp_path) as pacs:
        assert asked(orthanc.TITLE, pacs.dicom).good
        refused, away = asked("SOMEBODY", pacs.dicom), asked(orthanc.TITLE, free_port())
    assert (refused.good, "refuses us" in refused.found) == (False, True)
    assert (away.good, "does not answer" in away.found) == (False, True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
def test_a_certificate_says_when_it_ends(database: Database, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for expired, good in ((False, True), (True, False)):
        identity = authority.issue("server", expired=expired)
        http = Http(certificate=str(identity.cert), key=str(identity.key))
        row = rows(Config(data_dir=str(tmp_path), http=http), database)["listener"]
        assert (row.good, row.mend) == (good, "renew it")
        assert "CN=server ends in" in row.found
    wrong = Http(certificate=str(authority.ca), key=str(identity.key))
    assert rows(Config(data_dir=str(tmp_path), http=wrong), database)["listener"].good is False


def test_a_database_that_is_away_or_behind(tmp_path: Path) -> None:
    away = open_database("postgresql://ada:geheim@127.0.0.1:1/reports", tmp_path)
    row = rows(Config(data_dir=str(tmp_path)), away)["database"]
    assert (row.good, "geheim" in row.found) == (False, False)
    away.close()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pynetdicom 3.0 drops one that cannot connect
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "server.toml"
    file.write_text('data_dir = "data"\n[export.pacs]\nhost = "127.0.0.1"\nport = 1\ncalled = "PACS"\n')
    assert main(["--config", str(file), "check"]) == 1
    page = capsys.readouterr().out
    assert "NO  pacs           PACS at 127.0.0.1:1 does not answer (as ENDOEDGE)" in page
    assert "`endoedge-server serve` makes it" in page
    file.write_text('data_dir = "data"\n')
    assert main(["--config", str(file), "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    file.write_text("data_dir = 3\n")
    assert main(["--config", str(file), "check"]) == 2
    assert "data_dir" in capsys.readouterr().err
