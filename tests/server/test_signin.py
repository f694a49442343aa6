from __future__ import annotations

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from server import accounts, audit, clock, enrolment, limits, sessions, signin
from server.accounts import REFUSED
from server.store import tables
from server.store.database import Database
from tests.support import people
from tests.support.people import PASSWORD

pytestmark = pytest.mark.usefixtures("quick_passwords")
NEW = "a quite different one"


@pytest.fixture
def app(database: Database) -> FastAPI:
    accounts.create(database, "ada", "Ada <b>Lovelace</b>", "clinician", PASSWORD, by="cli:root")
    made = people.application(database)
    made.state.limits = limits.Limits(clock=lambda: 0.0)  # no time passes
    return made


def _forget_proof(database: Database) -> None:
    with database.write() as connection:
        connection.execute(tables.sessions.update().values(proven_at=clock.later(-sessions.PROVEN_S)))


def test_a_person_logs_in_and_out(app: FastAPI) -> None:
    client = people.browser(app)
    assert 'action="/login"' in client.get("/login?next=/procedures/a/b").text
    answer = client.post("/login", data={"name": "ada", "password": PASSWORD, "next": "/procedures/a/b"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/procedures/a/b")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert "domain" not in cookie
    assert "secure" not in cookie  # plain http, on this machine alone
    page = client.get("/account").text
    assert "Ada &lt;b&gt;Lovelace" in page
    assert client.get("/login?next=/x").headers["location"] == "/x"  # is logged in already
    token = client.cookies["endoedge"]
    assert client.post("/logout").status_code == 403  # by a link from elsewhere: not
    assert client.post("/logout", data={"csrf": people.csrf(page)}).headers["location"] == "/login"
    assert "endoedge" not in client.cookies
    assert sessions.find(app.state.database, token) is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_over_tls_the_cookie_is_bound_to_this_host(app: FastAPI) -> None:
    client = people.browser(app, "https://testserver")
    answer = client.post("/login", data={"name": "ada", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-endoedge=")
    assert "Secure" in cookie
    assert client.get("/account").status_code == 200


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("nobody", PASSWORD), ("", "")])
def test_a_refused_login_says_so_and_keeps_the_name(app: FastAPI, name: str, password: str) -> None:
    client = people.browser(app)
    answer = client.post("/login", data={"name": name, "password": password, "next": "/x"})
    assert answer.status_code == 401
    assert REFUSED in answer.text
    assert f'value="{name}"' in answer.text
    assert 'value="/x"' in answer.text
    assert password == "" or password not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_was_typed_is_shown_inert(app: FastAPI) -> None:
    answer = people.browser(app).post("/login", data={"name": '"><script>alert(1)</script>', "password": "x"})
    assert "<script>alert" not in answer.text


def test_a_login_makes_a_new_session(app: FastAPI) -> None:
    """Whoever planted a cookie before does not know the one after."""
    client = people.browser(app)
    client.cookies.set("endoedge", planted := "x" * 43, domain="testserver.local", path="/")
    client.post("/login", data={"name": "ada", "password": PASSWORD})
    first = client.cookies["endoedge"]
    assert first != planted
    client.post("/login", data={"name": "ada", "password": PASSWORD})
    assert client.cookies["endoedge"] != first
    assert sessions.find(app.state.database, first) is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_login_from_another_page_is_refused(app: FastAPI) -> None:
    client = people.browser(app)
    client.headers["Sec-Fetch-Site"] = "cross-site"
    assert client.post("/login", data={"name": "ada", "password": PASSWORD}).status_code == 403


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "place",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\nb",
        "",
        "/logout",
        "/login",
    ],
)
def test_nobody_is_sent_elsewhere(app: FastAPI, place: str) -> None:
    assert signin.local(place) == "/"
    answer = people.browser(app).post("/login", data={"name": "ada", "password": PASSWORD, "next": place})
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_machine_that_tries_names_has_to_wait(app: FastAPI) -> None:
    client = people.browser(app)
    answers = [client.post("/login", data={"name": f"n{number}", "password": "x"}) for number in range(31)]
    assert {answer.status_code for answer in answers[:30]} == {401}
    assert answers[30].status_code == 429
    assert int(answers[30].headers["retry-after"]) >= 1
    assert "too many tries" in answers[30].text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_name_that_is_tried_from_everywhere_has_to_wait(app: FastAPI) -> None:
    app.state.limits.login = limits.Bucket(1000, 1000)
    client = people.browser(app)
    codes = [client.post("/login", data={"name": "Nobody ", "password": "x"}).status_code for _ in range(13)]
    assert codes == [401] * 12 + [429]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_an_account_the_page_says_how_to_make_one(database: Database) -> None:
    page = people.browser(people.application(database)).get("/login").text
    assert "endoedge-server account create" in page


def test_a_person_changes_the_password(app: FastAPI) -> None:
    client, elsewhere = people.person(app, "ada", "clinician"), people.person(app, "ada", "clinician")
    answer = client.post("/account", data={"old": PASSWORD, "new": NEW, "again": NEW})
    assert answer.headers["location"] == "/account?done=1"
    assert "The password is changed" in client.get("/account?done=1").text
    assert elsewhere.get("/account").status_code == 303
    assert people.browser(app).post("/login", data={"name": "ada", "password": PASSWORD}).status_code == 401
    assert people.browser(app).post("/login", data={"name": "ada", "password": NEW}).status_code == 303


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("old", "new", "again", "status", "said"),
    [
        ("wrong", NEW, NEW, 401, "name or password is not right"),
        (PASSWORD, NEW, NEW + "x", 400, "not typed the same way"),
        (PASSWORD, "short", "short", 400, "5 characters"),
        (PASSWORD, "Ada-Lovelace-12", "Ada-Lovelace-12", 400, ""),
    ],
)
def test_a_password_that_is_not_changed(app: FastAPI, old: str, new: str, again: str, status: int, said: str) -> None:
    client = people.person(app, "ada", "clinician")
    answer = client.post("/account", data={"old": old, "new": new, "again": again})
    if said:
        assert answer.status_code == status
        assert said in answer.text
    assert new not in answer.text or len(new) < 6
    if said:
        assert people.browser(app).post("/login", data={"name": "ada", "password": PASSWORD}).status_code == 303


def test_a_proof_is_asked_for_again_and_given(app: FastAPI) -> None:
    client = people.person(app, "ada", "clinician")
    _forget_proof(app.state.database)
    answer = client.post("/prove", data={"password": "wrong"})
    assert answer.status_code == 401
    assert signin.SIGN_AGAIN in client.post("/prove").text
    assert client.post("/prove", data={"password": PASSWORD}).status_code == 204
    assert client.post("/prove", data={"password": PASSWORD, "next": "/x"}).headers["location"] == "/x"
    with app.state.database.read() as connection:
        (row,) = connection.execute(select(tables.sessions)).all()
        assert row.proven_at > clock.later(-60)
        assert [line.what for line in audit.lines(connection)].count("prove.failed") == 1


def test_a_box_enrols_over_http(app: FastAPI) -> None:
    database = app.state.database
    code = enrolment.make_code(database, "or-3", "ada")
    client = people.browser(app)
    answer = client.post("/v1/enrol", json={"device": "or-4", "code": code})
    assert (answer.status_code, list(answer.json())) == (403, ["error"])
    answer = client.post("/v1/enrol", json={"device": "or-3", "code": code})
    assert (answer.status_code, list(answer.json())) == (201, ["token"])
    assert enrolment.box_of(database, answer.json()["token"]) == "or-3"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"device": 1}', b'{"device": "a", "code": "b", "x": 1}', b"\xff"]
)
def test_what_is_no_enrolment_is_refused(app: FastAPI, content: bytes) -> None:
    answer = people.browser(app).post("/v1/enrol", content=content)
    assert answer.status_code == 400
    assert '{"device"' in answer.json()["error"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_enrolment_is_small_and_seldom(app: FastAPI) -> None:
    client = people.browser(app)
    assert client.post("/v1/enrol", content=b"x" * 20_000).status_code == 413
    codes = [client.post("/v1/enrol", json={"device": "a", "code": "b"}).status_code for _ in range(10)]
    assert codes == [403] * 9 + [429]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_form_is_small(app: FastAPI) -> None:
    client = people.browser(app)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/login", content=b"x" * ((1 << 20) + 1), headers=form).status_code == 413
    piecemeal = (b"x" * (1 << 19) for _ in range(9))
    assert client.post("/login", content=piecemeal, headers=form).status_code == 413
