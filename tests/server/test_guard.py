from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Form, Request
from starlette.testclient import TestClient

from server import accounts, audit, clock, enrolment, guard
from server.config import Config, Http
from server.guard import Person, Reads, person
from server.store import tables
from server.store.database import Database
from tests.support import people

pytestmark = pytest.mark.usefixtures("quick_passwords")


def _router() -> APIRouter:
    router = APIRouter()

    @router.get("/of/{device}/{procedure}")
    def read(
        device: str, procedure: str, request: Request, who: Annotated[Person, Depends(person("viewer"))]
    ) -> dict[str, str]:
        guard.note_read(request, who, "report.read", device, procedure)
        return {"account": who.account, "role": who.role}

    @router.post("/of/{device}/{procedure}")
    def change(
        device: str,
        procedure: str,
        request: Request,
        who: Annotated[Person, Depends(person("clinician"))],
        text: Annotated[str, Form()] = "",
    ) -> dict[str, str]:
        with guard.database(request).write() as connection:
            guard.note(connection, who, "report.edit", device, procedure, {"letters": len(text)})
        return {"text": text}

    @router.get("/by-itself")
    def live(who: Annotated[Person, Depends(person("viewer", touch=False))]) -> str:
        return who.account

    @router.get("/v1/mine")
    def mine(who: Annotated[Person, Depends(person("admin"))]) -> str:
        return who.account

    @router.get("/v1/whose")
    def box(device: Annotated[str, Depends(guard.box)]) -> str:
        return device

    return router


@pytest.fixture
def app(database: Database) -> FastAPI:
    return people.application(database, routers=[_router()])


def _whats(database: Database) -> list[str]:
    with database.read() as connection:
        return [row.what for row in audit.lines(connection)]


PLACE = "/of/or-3/P1"


def test_whoever_is_not_logged_in_is_sent_to_the_login_and_back(app: FastAPI) -> None:
    client = people.browser(app)
    answer = client.get(f"{PLACE}?tab=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/of/or-3/P1%3Ftab%3D2")
    answer = client.post(PLACE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    answer = client.get(PLACE, headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")
    answer = client.get("/v1/mine")
    assert (answer.status_code, answer.json()) == (401, {"error": guard.NOT_LOGGED_IN})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("role", "reads", "changes", "administers"),
    [("viewer", 200, 403, 403), ("clinician", 200, 200, 403), ("admin", 200, 200, 200)],
)
def test_roles(app: FastAPI, role: str, reads: int, changes: int, administers: int) -> None:
    client = people.person(app, "ada", role)
    found = [client.get(PLACE), client.post(PLACE, data={"text": "a"}), client.get("/v1/mine")]
    assert [answer.status_code for answer in found] == [reads, changes, administers]
    assert _whats(app.state.database).count("refused") == [reads, changes, administers].count(403)


def test_a_role_that_is_taken_away_is_gone_with_the_next_request(app: FastAPI) -> None:
    client = people.person(app, "ada", "clinician")
    with app.state.database.write() as connection:
        connection.execute(tables.accounts.update().values(role="viewer"))
    assert client.post(PLACE).status_code == 403
    accounts.disable(app.state.database, "ada", by="cli:root")
    assert client.get(PLACE).status_code == 303


# -------------------------------------------------------------------------------------------------- forgery


def _change(client: TestClient, headers: dict[str, str] | None = None, **fields: str) -> int:
    """Of the answer to a form."""
    return client.post(PLACE, data={"text": "a", **fields}, headers=headers or {}).status_code


def test_a_change_needs_the_session_s_token(app: FastAPI) -> None:
    client, other = people.person(app, "ada", "clinician"), people.person(app, "grace", "clinician")
    token, foreign = client.headers.pop(guard.CSRF_HEADER), other.headers[guard.CSRF_HEADER]
    assert _change(client) == 403
    assert _change(client, csrf="") == 403
    assert _change(client, csrf="x") == 403
    assert _change(client, csrf="\u00e4\u2028") == 403
    assert _change(client, csrf=foreign) == 403
    assert _change(client, {guard.CSRF_HEADER: foreign}, csrf=token) == 403  # one that is wrong is not made good
    assert _change(client, csrf=token) == 200
    assert _change(client, {guard.CSRF_HEADER: token}) == 200
    answer = client.post(PLACE, data={"text": "a"}, files={"csrf": ("name", token)})
    assert answer.status_code == 403
    answer = client.post(PLACE, data={"text": "hello", "csrf": token}, files={"x": ("name", "y")})
    assert answer.json() == {"text": "hello"}  # a form that was looked at before is still read


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("origin", "fetched", "status"),
    [
        ("http://testserver", "same-origin", 200),
        ("null", "same-origin", 200),  # a policy that hides where from
        ("http://testserver", None, 200),  # a browser that does not say
        ("http://evil.example", "cross-site", 403),
        ("http://evil.testserver", "same-site", 403),
        ("http://testserver", "cross-site", 403),
        ("http://testserver", "none", 403),
        ("http://evil.example", None, 403),
        ("http://testserver.evil.example", None, 403),
        ("https://testserver", None, 403),
        ("null", None, 403),
        (None, None, 403),
    ],
)
def test_a_change_has_to_come_from_a_page_of_ours(
    app: FastAPI, origin: str | None, fetched: str | None, status: int
) -> None:
    client = people.person(app, "ada", "clinician")
    for name, value in (("Origin", origin), ("Sec-Fetch-Site", fetched)):
        client.headers.pop(name)
        if value is not None:
            client.headers[name] = value
    assert _change(client) == status
    assert client.get(PLACE).status_code == 200  # a link from elsewhere may be followed


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_behind_a_proxy_the_configured_place_is_ours(database: Database) -> None:
    config = Config(http=Http(url="https://reports.example"))
    app = people.application(database, config, [_router()])
    client = people.browser(app)
    accounts.create(database, "ada", "Ada", "clinician", people.PASSWORD, by="cli:root")
    answer = client.post("/login", data={"name": "ada", "password": people.PASSWORD})
    assert answer.headers["set-cookie"].startswith("__Host-endoedge=")  # as the browser sees it, it is encrypted
    client.headers.pop("Sec-Fetch-Site")
    assert client.post("/login", data={"name": "ada"}).status_code == 403
    client.headers["Origin"] = "https://reports.example"
    assert client.post("/login", data={"name": "ada"}).status_code == 401


# --------------------------------------------------------------------------------------------- cookie, audit


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_cookie_of_plain_http_is_not_taken_over_tls(app: FastAPI) -> None:
    """Nor the other way: whoever can write a cookie by http cannot make a session of it."""
    plain = people.person(app, "ada", "viewer")
    token = plain.cookies["endoedge"]
    secure = people.browser(app, "https://testserver")
    secure.headers["Cookie"] = f"endoedge={token}"
    assert secure.get(PLACE).status_code == 303
    secure.headers["Cookie"] = f"__Host-endoedge={token}"
    assert secure.get(PLACE).status_code == 200


def test_every_read_and_change_is_a_line_of_the_audit(app: FastAPI) -> None:
    client = people.person(app, "ada", "clinician")
    for _ in range(3):
        client.get(PLACE)
    client.get("/of/or-3/P2")
    _change(client)
    with app.state.database.read() as connection:
        lines = [row for row in audit.lines(connection) if row.what.startswith("report")]
    assert [(row.what, row.who, row.device, row.procedure) for row in lines] == [
        ("report.read", "ada", "or-3", "P1"),
        ("report.read", "ada", "or-3", "P2"),
        ("report.edit", "ada", "or-3", "P1"),
    ]
    assert lines[0].address == "testclient"
    assert audit.verify(app.state.database).wrong == 0


def test_reading_again_a_minute_later_is_another_line(app: FastAPI) -> None:
    now = [0.0]
    app.state.reads = Reads(clock=lambda: now[0])
    client = people.person(app, "ada", "viewer")
    for at in (0.0, 59.0, 61.0, 62.0, 122.0):
        now[0] = at
        client.get(PLACE)
    assert _whats(app.state.database).count("report.read") == 3


def test_a_read_that_cannot_be_written_down_is_none(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    client = people.person(app, "ada", "viewer")

    def broken(*_: object, **__: object) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(audit, "record", broken)
    for _ in range(2):
        with pytest.raises(OSError, match="disk full"):
            client.get(PLACE)


def test_a_live_page_keeps_nobody_in(app: FastAPI) -> None:
    client = people.person(app, "ada", "viewer")

    def seen(at: str) -> str:
        with app.state.database.write() as connection:
            connection.execute(tables.sessions.update().values(seen_at=at))
        return at

    before = seen(clock.later(-600))
    assert client.get("/by-itself").status_code == 200
    with app.state.database.read() as connection:
        assert connection.execute(tables.sessions.select()).one().seen_at == before
    client.get(PLACE)
    with app.state.database.read() as connection:
        assert connection.execute(tables.sessions.select()).one().seen_at > before


# --------------------------------------------------------------------------------------------- boxes, routes


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("said", ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer " + "x" * 43, "bearer  \x7f"])
def test_a_box_needs_its_token(app: FastAPI, said: str) -> None:
    answer = people.browser(app).get("/v1/whose", headers={"Authorization": said} if said else {})
    assert (answer.status_code, answer.json()) == (401, {"error": guard.NOT_A_BOX})


def test_a_box_that_is_enrolled_is_named(app: FastAPI) -> None:
    database = app.state.database
    token = enrolment.enrol(database, "or-3", enrolment.make_code(database, "or-3", "ada"))
    client = people.browser(app)
    assert client.get("/v1/whose", headers={"Authorization": f"Bearer {token}"}).json() == "or-3"
    assert client.get("/v1/whose", headers={"Authorization": f"bearer {token}"}).json() == "or-3"
    assert client.get(PLACE, headers={"Authorization": f"Bearer {token}"}).status_code == 303  # a box is no person
    enrolment.revoke(database, "or-3", by="ada")
    assert client.get("/v1/whose", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_person_is_no_box(app: FastAPI) -> None:
    client = people.person(app, "ada", "admin")
    assert client.get("/v1/whose").status_code == 401
    token = client.cookies["endoedge"]
    assert client.get("/v1/whose", headers={"Authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_routes_that_ask_nobody_are_the_ones_that_have_to(app: FastAPI) -> None:
    """Before anybody can have logged in, or a box have been enrolled; and what only tells whether the server works."""
    before = {"/login", "/login/oidc", "/login/oidc/back", "/static/{digest}/{name:path}", "/v1/enrol"}
    assert set(guard.unguarded(app)) == before | {"/alive", "/health"}
