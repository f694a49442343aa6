"""Boxes' uploads, over HTTP in the process, on both databases."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace
from PIL import Image

from edge.procedure import Record
from server import reports
from server.app import create
from server.config import Config
from server.enrolment import enrol, make_code, revoke
from server.keep import Folder
from server.store.database import Database
from tools import export_example

RECORD, FRAMES = export_example.example()
DEVICE = RECORD.heading.device
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def web(database: Database, tmp_path: Path) -> Iterator[TestClient]:
    app = create(Config(data_dir=str(tmp_path)), database, Folder(tmp_path / "frames"))
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {token(database, DEVICE)}"
        yield client


def token(database: Database, device: str) -> str:
    return enrol(database, device, make_code(database, device, "test"))


def put(web: TestClient, jpeg: bytes, sha256: str = "", **headers: str) -> Any:
    named = sha256 or hashlib.sha256(jpeg).hexdigest()
    return web.put(f"/v1/frames/{named}", content=jpeg, headers={"Content-Type": "image/jpeg", **headers})


def post(web: TestClient, record: Record | bytes | str, **headers: str) -> Any:
    body = record if isinstance(record, bytes | str) else msgspec.json.encode(record)
    return web.post("/v1/procedures", content=body, headers={**JSON, **headers})


def sent(web: TestClient) -> None:
    for jpeg in FRAMES.values():
        assert put(web, jpeg).status_code == 201


def picture(width: int, height: int, kind: str = "JPEG", **more: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (90, 30, 30)).save(file, kind, **more)
    return file.getvalue()


def test_a_procedure_comes_as_a_box_sends_it(web: TestClient, database: Database) -> None:
    asked = post(web, RECORD)
    assert (asked.status_code, set(asked.json()["missing"])) == (409, set(FRAMES))
    sent(web)
    taken = post(web, RECORD)
    key = {"device": DEVICE, "procedure": RECORD.procedure, "revision": 1}
    assert (taken.status_code, taken.json()) == (201, {"taken": key})
    again = post(web, RECORD)
    assert (again.status_code, again.json()) == (200, {"taken": key})
    for sha256, jpeg in FRAMES.items():
        assert (put(web, jpeg).status_code, put(web, jpeg).json()) == (200, {"taken": sha256})
    with database.read() as connection:
        assert reports.record(connection, reports.Key(**key)) == RECORD
        assert [one.key for one in reports.undrafted(connection, 10)] == [reports.Key(**key)]


def test_a_box_learns_who_it_is(web: TestClient) -> None:
    answer = web.get("/v1/box").json()
    assert answer["device"] == DEVICE
    assert answer["time"].endswith("Z")


def test_another_document_under_a_revision_is_refused_and_the_first_stays(web: TestClient, database: Database) -> None:
    sent(web)
    post(web, RECORD)
    other = post(web, replace(RECORD, not_recorded={}))
    assert (other.status_code, other.json()["error"]) == (
        409,
        f"{DEVICE} {RECORD.procedure} revision 1: another document was taken under this revision",
    )
    assert post(web, replace(RECORD, revision=2, not_recorded={})).status_code == 201
    with database.read() as connection:
        assert reports.record(connection, reports.key_of(RECORD)) == RECORD
        assert reports.revisions(connection, DEVICE, RECORD.procedure) == [1, 2]


def test_a_foreign_box_gets_nothing_of_ours_in(web: TestClient, database: Database) -> None:
    sent(web)
    web.headers["Authorization"] = f"Bearer {token(database, 'other-box')}"
    refused = post(web, RECORD)
    said = f"a record of the box '{DEVICE}', sent by 'other-box'"
    assert (refused.status_code, refused.json()["error"]) == (403, said)
    heading = replace(RECORD.heading, device="other-box")
    asked = post(web, replace(RECORD, heading=heading))
    assert asked.status_code == 409
    assert set(asked.json()["missing"]) == set(FRAMES), "another box's pictures are not its own"


def test_who_is_not_enrolled_is_told_nothing(web: TestClient, database: Database) -> None:
    revoke(database, DEVICE, by="test")
    for answer in (post(web, RECORD), put(web, next(iter(FRAMES.values()))), web.get("/v1/box")):
        assert answer.status_code == 401
        assert "enrolled" in answer.json()["error"]
    web.headers["Authorization"] = "Basic eHg6eHg="
    assert web.get("/v1/box").status_code == 401


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
GOOD = next(iter(FRAMES.values()))


@pytest.mark.parametrize(
    ("jpeg", "said"),
    [
        (SVG, "expected a JPEG"),
        (picture(8, 8, "PNG"), "expected a JPEG"),
        (GOOD[:-200], "ends before its end marker"),
        (b"\xff\xd8\xff\xd9", "not a picture that can be shown"),
        (b"", "expected a JPEG"),
        (picture(8200, 8), "8200x8, expected at most 8192"),
        (picture(64, 64, progressive=True), "expected a baseline JPEG"),
        (b"\xff\xd8" + SVG + b"\xff\xd9", "not a picture that can be shown"),
    ],
)
def test_what_is_no_picture_is_refused(web: TestClient, jpeg: bytes, said: str, tmp_path: Path) -> None:
    answer = put(web, jpeg)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert not list((tmp_path / "frames").rglob("*.jpg"))


def test_a_picture_under_another_digest_is_refused(web: TestClient) -> None:
    answer = put(web, GOOD, "0" * 64)
    assert (answer.status_code, "0" * 64 in answer.json()["error"]) == (400, True)
    assert put(web, GOOD, "../../etc/passwd").status_code == 404
    assert put(web, GOOD, "A" * 64).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not a procedure's record"),
        (b"[" * 100_000, 400, "not a procedure's record"),
        (b"\xff\xfe", 400, "not a procedure's record"),
        (b'{"version": 1}', 400, "missing required field"),
        (b'{"\\ud800": 1}', 400, "not a procedure's record"),
        (msgspec.json.encode(replace(RECORD, state="running")), 400, "still runs"),
        (msgspec.json.encode(replace(RECORD, version=99)), 400, "version 99, expected 1"),
        (msgspec.json.encode(RECORD).replace(RECORD.procedure.encode(), b"a\\n"), 400, "ends with a line end"),
        (msgspec.json.encode(replace(RECORD, not_recorded={"a\x1b": "b"})), 400, "control characters"),
        (msgspec.json.encode(replace(RECORD, findings=RECORD.findings * 2)), 400, "two facts have one id"),
    ],
)
def test_what_is_no_record_is_refused(web: TestClient, body: bytes, status: int, said: str) -> None:
    answer = post(web, body)
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_a_record_that_tells_of_another_picture_is_refused(web: TestClient) -> None:
    sent(web)
    first = RECORD.findings[0]
    assert first.key_frame is not None
    wrong = replace(first, key_frame=replace(first.key_frame, width=9999))
    answer = post(web, replace(RECORD, findings=(wrong, *RECORD.findings[1:])))
    assert (answer.status_code, "9999" in answer.json()["error"]) == (400, True)


def test_a_body_that_is_too_large_is_refused(web: TestClient) -> None:
    def parts() -> Iterator[bytes]:  # without a length
        yield from [b"x" * (1 << 20)] * 9

    answer = web.put(f"/v1/frames/{'0' * 64}", content=parts(), headers={"Content-Type": "image/jpeg"})
    assert (answer.status_code, answer.json()["error"]) == (413, "expected at most 8 MiB")
    told = put(web, b"x", **{"Content-Length": str(2 << 30)})
    assert (told.status_code, told.json()["error"]) == (413, "expected at most 8 MiB")


def test_what_would_have_to_be_unpacked_is_refused(web: TestClient) -> None:
    bomb = gzip.compress(b"[" * (64 << 20))
    answer = post(web, bomb, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, "Content-Encoding" in answer.json()["error"]) == (415, True)
    assert put(web, GOOD, **{"Content-Type": "image/svg+xml"}).status_code == 415


def test_a_script_in_a_text_is_kept_as_text(web: TestClient, database: Database) -> None:
    sent(web)
    evil = replace(RECORD.findings[0], label="<script>alert(1)</script>")
    assert post(web, replace(RECORD, findings=(evil, *RECORD.findings[1:]))).status_code == 201
    with database.read() as connection:
        kept = reports.record(connection, reports.key_of(RECORD))
    assert kept is not None
    assert kept.findings[0].label == "<script>alert(1)</script>"
