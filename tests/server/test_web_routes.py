"""The review page over HTTP, on both databases."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from msgspec.structs import replace
from sqlalchemy import select, update

from edge.procedure import Landmark
from server import audit, clock, guard, listing, patients, reports
from server.app import create
from server.config import Config, Sign, Worklist
from server.keep import Folder
from server.listing import Wanted
from server.patient import Patient
from server.reports import Key, Version
from server.store.database import Database
from server.store.tables import sessions
from server.web.pages import FILES, place
from tests.support import desk_of_reports as desk
from tools import export_example

ORIGIN = "http://testserver"
HX = {"HX-Request": "true"}
WHOSE = {"family": "Example", "given": "Erika", "id": "0000123", "issuer": "Hospital", "birth_date": "1961-04-05"}


class Browser:
    """One person's."""

    def __init__(self, app: Any, name: str) -> None:
        self.client = TestClient(app, follow_redirects=False)
        self.client.headers["Origin"] = ORIGIN
        if name:
            sent = self.client.post("/login", data={"name": name, "password": desk.PASSWORD})
            assert sent.status_code == 303, sent.text

    def get(self, path: str, **headers: str) -> Response:
        return self.client.get(path, headers=headers)

    def post(self, path: str, part: bool = False, **form: Any) -> Response:
        csrf = re.search(r'name="csrf" value="([^"]+)"', self.get("/").text)
        data = {"csrf": csrf[1] if csrf else "", **form}
        return self.client.post(path, data=data, headers=HX if part else {})


class Desk:
    def __init__(self, database: Database, folder: Path, config: Config | None = None) -> None:
        self.database, self.keep = database, Folder(folder / "frames")
        self.app = create(config or Config(data_dir=str(folder)), database, self.keep)
        desk.people(database)
        desk.box(database, export_example.DEVICE)

    def browser(self, name: str) -> Browser:
        return Browser(self.app, name)

    def newest(self, key: Key) -> Version:
        with self.database.read() as connection:
            found = reports.newest(connection, key)
        assert found is not None
        return found

    def audited(self) -> list[tuple[str, str]]:
        with self.database.read() as connection:
            return [(row.who, row.what) for row in audit.lines(connection)]


@pytest.fixture
def server(database: Database, tmp_path: Path, quick_passwords: None) -> Desk:
    return Desk(database, tmp_path)


@pytest.fixture
def key(server: Desk) -> Key:
    return desk.procedure(server.database, server.keep)


def test_every_page_asks_who_is_there(server: Desk) -> None:
    ours = ("/procedures", "/frames", "/live", "/look")
    assert [path for path in guard.unguarded(server.app) if path == "/" or path.startswith(ours)] == []
    nobody = server.browser("")
    assert nobody.get("/").headers["location"] == "/login"
    assert nobody.get("/", **HX).headers["hx-redirect"] == "/login"
    assert nobody.get("/live").status_code == 303
    assert nobody.client.post("/procedures/a/b/1/sign", data={"after": "1"}).status_code in (303, 401)


def test_the_list_says_what_there_is(server: Desk, key: Key) -> None:
    page = server.browser("vera").get("/")
    assert page.status_code == 200
    assert place(key) in page.text
    assert 'class="state draft"' in page.text
    assert export_example.DEVICE in page.text
    assert ("vera", "list.read") in server.audited()


def test_the_list_goes_on_where_a_page_ended(server: Desk) -> None:
    keys = [desk.procedure(server.database, server.keep, desk.another(n), drafted=False) for n in range(7)]
    found: list[Key] = []
    after = ""
    with server.database.read() as connection:
        for _ in range(3):
            entries, after = listing.entries(connection, Wanted(after=after), most=3)
            found += [entry.key for entry in entries]
    assert after == ""
    assert found == keys[::-1]


def test_the_list_is_searched(server: Desk, key: Key) -> None:
    other = desk.procedure(server.database, server.keep, desk.another(1), drafted=False)
    with server.database.write() as connection:
        patients.join(connection, *key[:2], export_example.PATIENT, "ada")

    def found(**wanted: str) -> list[Key]:
        with server.database.read() as connection:
            return [entry.key for entry in listing.entries(connection, msgspec.convert(wanted, Wanted))[0]]

    assert found(text="erika EXAM") == [key]
    assert found(text="0000123") == [key]
    assert found(text="4000-8000") == [other]
    assert found(text="100%") == []
    assert found(state="none") == [other]
    assert found(state="draft") == [key]
    assert found(state="final") == []
    assert set(found(device=export_example.DEVICE, pipeline="colonoscopy")) == {key, other}
    assert server.browser("ada").get("/?state=nonsense").status_code == 400


def test_a_newer_revision_takes_its_place_in_the_list(server: Desk, key: Key) -> None:
    newer = desk.procedure(server.database, server.keep, replace(desk.example()[0], revision=2), drafted=False)
    with server.database.read() as connection:
        entries, _ = listing.entries(connection, Wanted())
    assert [(entry.key, entry.report) for entry in entries] == [(newer, "")]
    with server.database.write() as connection:
        reports.append(connection, server.newest(key).report, after=1, what="edited", author="ada")
    with server.database.read() as connection:
        assert listing.entries(connection, Wanted())[0] == entries
    page = server.browser("ada").get(place(key)).text
    assert "revision 2. This is revision 1." in page


def test_a_report_is_read_and_that_is_known(server: Desk, key: Key) -> None:
    page = server.browser("vera").get(place(key))
    assert page.status_code == 200
    assert "The caecum was seen at 6 min 40 s." in page.text
    assert ">Edit<" not in page.text
    assert ("vera", "report.read") in server.audited()
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", page.text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", page.text)


def test_what_is_not_there_is_said_so(server: Desk) -> None:
    answer = server.browser("ada").get("/procedures/box/none/1")
    assert answer.status_code == 404
    assert "there is no record of box none revision 1" in answer.text


def test_a_sentence_is_changed_struck_and_restored(server: Desk, key: Key) -> None:
    ada, at = server.browser("ada"), place(key, "sentences")
    assert 'name="text"' in ada.get(f"{at}/S5/edit").text
    sent = ada.post(f"{at}/S5", after=1, text="The caecum was reached.", cites=["L1"])
    assert (sent.status_code, sent.headers["location"]) == (303, f"{place(key)}#S10")
    sent = ada.post(f"{at}/S6/strike", part=True, after=2, text="a fold")
    assert sent.status_code == 200
    assert 'data-number="3"' in sent.text
    assert "a fold" in sent.text
    assert 'id="said-F1" hx-swap-oob="true">No sentence says this' in sent.text
    assert ada.post(f"{at}/S6/restore", part=True, after=3).status_code == 200
    sent = ada.post(at, part=True, after=4, section="summary", text="Nothing else.", cites=["T1", "F1"])
    assert 'id="S11"' in sent.text
    version = server.newest(key)
    assert (version.number, version.author, version.what) == (5, "ada", "edited")
    said = {one.id: one for one in version.report.sentences}
    assert (said["S5"].struck, said["S10"].author, said["S11"].cites) == ("replaced", "Dr. Ada Example", ("T1", "F1"))
    assert said["S6"].struck == ""
    changes = [what for who, what in server.audited() if who == "ada" and what.startswith("report.")]
    assert changes == ["report.read", "report.edit", "report.strike", "report.restore", "report.add"]


def test_whoever_is_late_loses_nothing(server: Desk, key: Key) -> None:
    ada, ben, at = server.browser("ada"), server.browser("ben"), place(key, "sentences")
    assert ben.post(f"{at}/S5", after=1, text="Ben's words.").status_code == 303
    for part in (False, True):
        sent = ada.post(f"{at}/S5", part=part, after=1, text="Ada's words.", cites=["L1"])
        assert sent.status_code == 409
        assert "ben has changed this sentence meanwhile. It now says: “Ben&#39;s words.”" in sent.text
        form = re.search(rf'<form method="post" action="{at}/S10".*?</form>', sent.text, re.DOTALL)
        assert form is not None
        assert "Ada&#39;s words.</textarea>" in form[0]
        assert 'name="after" value="2"' in form[0]
    assert sent.headers["hx-retarget"] == "#report"
    assert server.newest(key).number == 2
    assert ada.post(f"{at}/S10", after=2, text="Ada's words.").status_code == 303


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"text": " "}, "length &gt;= 1"),
        ({"text": "x" * 601}, "length &lt;= 600"),
        ({"text": "x", "cites": ["F9"]}, "has no F9"),
        ({"text": "x", "section": "nonsense"}, "expected one of procedure, quality"),
    ],
)
def test_what_is_not_taken_stays_in_its_form(server: Desk, key: Key, form: dict[str, Any], said: str) -> None:
    sent = server.browser("ada").post(place(key, "sentences"), part=True, after=1, **{"section": "summary", **form})
    assert sent.status_code == 400
    assert said in sent.text
    assert server.newest(key).number == 1


def test_only_a_clinician_changes_and_only_from_our_page(server: Desk, key: Key) -> None:
    at = place(key, "sentences/S5")
    assert server.browser("vera").post(at, after=1, text="x").status_code == 403
    assert server.browser("vera").get(f"{at}/edit").status_code == 403
    ada = server.browser("ada")
    assert ada.client.post(at, data={"after": "1", "text": "x"}).status_code == 403
    ada.client.headers["Origin"] = "https://elsewhere.example"
    assert ada.post(at, after=1, text="x").status_code == 403
    assert server.newest(key).number == 1
    assert "refused" in [what for _, what in server.audited()]


def test_a_report_is_signed_and_amended(server: Desk, key: Key) -> None:
    ada, at = server.browser("ada"), place(key, "sign")
    assert "Patient" in ada.get(at).text
    sent = ada.post(at, after=1, **{**WHOSE, "family": ""})
    assert (sent.status_code, "expected the family name" in sent.text) == (400, True)
    assert 'value="Erika"' in sent.text
    sent = ada.post(at, after=1, **{**WHOSE, "birth_date": "1961-13-01"})
    assert "Birth date" in sent.text
    sent = ada.post(at, after=1, **WHOSE)
    assert (sent.status_code, sent.headers["location"]) == (303, place(key))
    version = server.newest(key)
    assert (version.what, version.report.state, version.report.signatures[0].name) == (
        "signed",
        "final",
        "Dr. Ada Example",
    )
    with server.database.read() as connection:
        assert patients.of(connection, *key[:2]) == msgspec.convert(WHOSE, Patient)
    page = server.browser("vera").get(place(key)).text
    assert "Example, Erika" in page
    assert "Example, Erika" in server.browser("vera").get("/?text=erika").text
    assert ada.post(place(key, "sentences/S5"), after=2, text="x").status_code == 409
    sent = ada.post(place(key, "addendum"), part=True, after=2, text="Histology: adenoma.", cites=["F2"])
    assert (sent.status_code, sent.headers["hx-redirect"]) == (204, place(key))
    assert server.newest(key).report.state == "amended"
    history = ada.get(place(key, "history")).text
    assert "Histology: adenoma." in history
    assert "Example, Erika" not in "".join(detail for detail in _details(server))


def _details(server: Desk) -> Iterator[str]:
    with server.database.read() as connection:
        yield from (row.detail for row in audit.lines(connection))


def test_a_signature_needs_the_password_when_the_login_is_old(server: Desk, key: Key) -> None:
    ada, at = server.browser("ada"), place(key, "sign")
    with server.database.write() as connection:
        connection.execute(update(sessions).values(proven_at=clock.later(-600)))
    assert 'type="password"' in ada.get(at).text
    assert ada.post(at, after=1, **WHOSE).status_code == 401
    wrong = ada.post(at, after=1, password="wrong horse battery", **WHOSE)
    assert wrong.status_code == 401
    assert "battery" not in wrong.text
    assert 'value="Erika"' in wrong.text
    assert server.newest(key).report.state == "draft"
    assert ada.post(at, after=1, password=desk.PASSWORD, **WHOSE).status_code == 303


def test_a_report_is_not_signed_as_somebody_else_left_it(server: Desk, key: Key) -> None:
    ada = server.browser("ada")
    server.browser("ben").post(place(key, "sentences/S5"), after=1, text="Ben's words.")
    sent = ada.post(place(key, "sign"), part=True, after=1, **WHOSE)
    assert sent.status_code == 409
    assert "changed meanwhile" in sent.text
    assert 'value="Erika"' in sent.text
    assert server.newest(key).report.state == "draft"


def test_two_people_sign_where_two_have_to(database: Database, tmp_path: Path, quick_passwords: None) -> None:
    server = Desk(database, tmp_path, Config(data_dir=str(tmp_path), sign=Sign(signatures=2)))
    key = desk.procedure(database, server.keep)
    ada, ben = server.browser("ada"), server.browser("ben")
    assert ada.post(place(key, "sign"), after=1, **WHOSE).status_code == 303
    assert server.newest(key).report.state == "draft"
    assert "Another person has to sign as well" in ada.get(place(key)).text
    assert "another person has to" in ada.post(place(key, "sign"), after=2).text
    form = ben.get(place(key, "sign")).text
    assert '<input type="hidden" name="given" value="Erika">' in form
    assert "1 so far" in form
    assert 'value="Erika"' not in ben.get(place(key, "sign") + "?by_hand=true").text
    assert ben.post(place(key, "sign"), after=2).status_code == 303
    assert server.newest(key).report.state == "final"


def test_the_patient_is_chosen_from_the_worklist(database: Database, tmp_path: Path, quick_passwords: None) -> None:
    planned = tmp_path / "planned"
    planned.mkdir()
    near = {"patient": {**WHOSE, "study": "1.2.3", "accession": "A1"}, "scheduled": "2026-03-02T09:00:00Z"}
    (planned / "one.json").write_bytes(msgspec.json.encode({**near, "procedure": "Colonoscopy"}))
    server = Desk(database, tmp_path, Config(data_dir=str(tmp_path), worklist=Worklist(folder=str(planned))))
    key = desk.procedure(database, server.keep)
    ada = server.browser("ada")
    assert f'hx-get="{place(key, "worklist")}"' in ada.get(place(key, "sign")).text
    page = ada.get(place(key, "worklist")).text
    assert "Example, Erika" in page
    assert "Colonoscopy" in page
    assert "Nobody is planned" in ada.post(place(key, "worklist"), part=True, text="somebody else").text
    form = ada.post(place(key, "sign/choose"), part=True, **near["patient"]).text
    assert '<input type="hidden" name="study" value="1.2.3">' in form
    assert 'id="family"' not in form
    sent = ada.post(place(key, "sign"), after=1, chosen="1", **near["patient"])
    assert sent.status_code == 303
    with database.read() as connection:
        joined = patients.of(connection, *key[:2])
    assert joined is not None
    assert (joined.study, joined.accession, joined.given) == ("1.2.3", "A1", "Erika")
    assert server.browser("vera").get(place(key, "worklist")).status_code == 403
    planned.rename(tmp_path / "gone")
    broken = ada.get(place(key, "worklist")).text
    assert "Type the patient in." in broken


def test_a_wrong_patient_is_corrected(server: Desk, key: Key) -> None:
    ada, at = server.browser("ada"), place(key, "patient")
    assert ada.get(at).status_code == 409
    ada.post(place(key, "sign"), after=1, **WHOSE)
    assert 'value="Erika"' in ada.get(at).text
    other = {**WHOSE, "family": "Other", "given": "Erik", "id": "77"}
    assert "reason" in ada.post(at, after=2, **other).text
    assert "that is the patient already" in ada.post(at, after=2, reason="mistyped", **WHOSE).text
    assert ada.post(at, after=1, reason="mistaken", **other).status_code == 409
    assert server.browser("vera").get(at).status_code == 403
    sent = ada.post(at, part=True, after=2, reason="mistaken", **other)
    assert (sent.status_code, sent.headers["hx-redirect"]) == (204, place(key))
    version = server.newest(key)
    assert (version.number, version.what, version.report.state) == (3, "corrected", "final")
    assert "Other, Erik" in ada.get(place(key)).text
    assert "Patient corrected" in ada.get(place(key, "history")).text
    assert [entry.patient.family for entry in _entries(server, "other") if entry.patient] == ["Other"]
    assert _entries(server, "example, erika") == []
    assert ("ada", "patient.correct") in server.audited()
    assert not any("Erik" in detail for detail in _details(server))


def _entries(server: Desk, text: str) -> list[listing.Entry]:
    with server.database.read() as connection:
        return listing.entries(connection, Wanted(text=text))[0]


def test_without_a_worklist_the_patient_is_typed(server: Desk, key: Key) -> None:
    ada = server.browser("ada")
    assert "worklist" not in ada.get(place(key, "sign")).text
    assert ada.get(place(key, "worklist")).status_code == 404


def test_key_frames_are_shown_to_people_alone(server: Desk, key: Key) -> None:
    sha256, jpeg = next(iter(desk.example()[1].items()))
    at = f"/frames/{key.device}/{sha256}"
    answer = server.browser("vera").get(at)
    assert (answer.content, answer.headers["content-type"]) == (jpeg, "image/jpeg")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert server.browser("").get(at).status_code == 303
    assert server.browser("vera").get(f"/frames/another-box/{sha256}").status_code == 404
    assert server.browser("vera").get(f"/frames/{key.device}/..%2f..%2fserver.db").status_code == 404


def test_files_of_the_page_are_whole_and_lasting(server: Desk) -> None:
    for name, file in FILES.items():
        answer = server.browser("").get(f"/static/{file.digest}/{name}")
        assert (answer.status_code, answer.content) == (200, file.content)
        assert "immutable" in answer.headers["cache-control"]
    assert server.browser("").get("/static/x/..%2fpages.py").status_code == 404
    told = (Path(__file__).parents[2] / "server/web/static/vendor/README.md").read_text()
    for name, file in FILES.items():
        if name.startswith("vendor/"):
            assert hashlib.sha256(file.content).hexdigest() in told, name


def test_hostile_words_are_shown_and_do_nothing(server: Desk) -> None:
    wild = "<script>alert(1)</script>\u202e" + "x" * 600
    landmark = Landmark(id="L2", kind=wild, first_seen_s=1.0, best_score=0.5)
    record = desk.another(5, landmarks=(landmark,), not_recorded={wild: wild})
    key = desk.procedure(server.database, server.keep, record, replace(export_example.draft(), sentences=()))
    page = server.browser("ada").get(place(key)).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\ufffd" in page
    assert "\u202e" not in page


def test_a_procedure_without_a_draft_can_be_looked_at(server: Desk) -> None:
    key = desk.procedure(server.database, server.keep, desk.another(7), drafted=False)
    page = server.browser("ada").get(place(key)).text
    assert "The draft is being made" in page
    assert server.browser("ada").get(place(key, "sign")).status_code == 409


def test_questions_are_answered_from_the_record_and_kept(server: Desk, key: Key) -> None:
    ada, at = server.browser("ada"), place(key, "questions")
    sent = ada.post(at, part=True, question="How long did the withdrawal take?")
    assert sent.status_code == 200
    assert "8 min 11 s" in sent.text
    assert 'data-fact="T1"' in sent.text
    sent = ada.post(at, question="How big was the <b>polyp</b>?")
    assert sent.headers["location"] == f"{place(key)}#questions"
    page = server.browser("vera").get(place(key)).text
    assert "How big was the &lt;b&gt;polyp&lt;/b&gt;?" in page
    assert "How long did the withdrawal take?" in page
    assert 'name="question"' not in page
    refused = ada.post(at, question="x" * 501)
    assert (refused.status_code, "expected 1 to 500" in refused.text) == (400, True)
    assert server.browser("vera").post(at, question="x").status_code == 403
    assert ("ada", "question.ask") in server.audited()
    for _ in range(12):
        sent = ada.post(at, part=True, question="And now?")
    assert "too many tries" in sent.text
    assert "And now?" in sent.text


def test_how_pages_look_is_remembered_without_javascript(server: Desk, key: Key) -> None:
    vera = server.browser("vera")
    sent = vera.post("/look", theme="dark", size="large", next=place(key))
    assert sent.headers["location"] == place(key)
    assert 'data-theme="dark" data-size="large"' in vera.get(place(key)).text
    assert vera.post("/look", theme="x", next="https://elsewhere.example/").headers["location"] == "/"
    with server.database.read() as connection:
        assert connection.execute(select(sessions.c.account)).scalars().all() == ["vera"]
