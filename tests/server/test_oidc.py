"""Logging in at an identity provider: a real one, over TLS, that lies in each way."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from edge.errors import ConfigError
from server import accounts, audit, clock, identities, oidc, sessions, signin
from server.config import Config, Oidc, load
from server.oidc import Provider
from server.store import tables
from server.store.database import Database
from tests.support import broker, people
from tests.support.oidc_provider import CLIENT, SECRET, Key, OidcProvider

pytestmark = pytest.mark.usefixtures("quick_passwords")
BACK = f"{people.ORIGIN}/login/oidc/back"
ROLES = {"staff": "viewer", "endoscopists": "clinician", "it": "admin"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OidcProvider, Path]]:
    if reason := broker.missing_tools():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("oidc")
    hospital = broker.Authority(folder)
    (folder / "secret").write_text(f"{SECRET}\n")
    with OidcProvider(hospital.issue("id"), BACK) as provider:
        yield provider, hospital.ca


@pytest.fixture
def provider(running: tuple[OidcProvider, Path]) -> OidcProvider:
    running[0].reset()
    return running[0]


def _config(running: tuple[OidcProvider, Path], **more: Any) -> Oidc:
    provider, ca = running
    secret = str(ca.parent / "secret")
    known = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret_file": secret, "ca": str(ca)}
    return Oidc(**{**known, "roles": ROLES, **more})


@pytest.fixture
def app(database: Database, provider: OidcProvider, running: tuple[OidcProvider, Path]) -> FastAPI:
    return people.application(database, Config(oidc=_config(running)))


class _Browser:
    def __init__(self, app: FastAPI, ca: Path) -> None:
        self.us: TestClient = people.browser(app)
        self._ca = ca

    def leave(self, query: str = "") -> httpx.Response:
        """To the provider; its answer, which sends the browser back."""
        answer = self.us.get(f"/login/oidc{query}")
        assert answer.status_code == 303, answer.text
        trusts = ssl.create_default_context(cafile=str(self._ca))
        with httpx.Client(verify=trusts, trust_env=False, timeout=20) as client:
            return client.get(answer.headers["location"])

    def come_back(self, answer: httpx.Response) -> httpx.Response:
        found: httpx.Response = self.us.get(answer.headers["location"])
        return found

    def login(self, query: str = "") -> httpx.Response:
        return self.come_back(self.leave(query))


@pytest.fixture
def browser(app: FastAPI, running: tuple[OidcProvider, Path]) -> _Browser:
    return _Browser(app, running[1])


def _accounts(database: Database) -> list[tuple[str, str, str]]:
    return [(account.name, account.full_name, account.role) for account in accounts.everybody(database)]


def test_a_first_login_makes_the_account(browser: _Browser, provider: OidcProvider, database: Database) -> None:
    assert 'href="/login/oidc?next=/x"' in browser.us.get("/login?next=/x").text
    answer = browser.login("?next=/procedures/a/b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/procedures/a/b")
    assert _accounts(database) == [("ada", "Ada Lovelace", "clinician")]
    assert "Ada Lovelace" in browser.us.get("/account").text
    assert 'name="old"' not in browser.us.get("/account").text  # no password to change
    assert "endoedge-oidc" not in browser.us.cookies
    browser.login()
    assert len(_accounts(database)) == 1
    with database.read() as connection:
        lines = [(row.who, row.what) for row in audit.lines(connection)]
    assert lines == [("oidc", "account.create"), ("ada", "login"), ("ada", "logout"), ("ada", "login")]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_cookies_are_no_script_s(browser: _Browser) -> None:
    cookie = browser.us.get("/login/oidc").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_role_and_name_follow_the_provider(browser: _Browser, provider: OidcProvider, database: Database) -> None:
    browser.login()
    provider.person |= {"groups": ["staff"], "name": "Ada Byron^"}
    browser.login()
    assert _accounts(database) == [("ada", "Ada Byron", "viewer")]
    provider.person |= {"groups": "it"}
    browser.login()
    assert _accounts(database)[0][2] == "admin"


def test_who_has_no_role_here_does_not_come_in(browser: _Browser, provider: OidcProvider, database: Database) -> None:
    for groups in (["cooks"], [], None, {"it": True}, [["it"]], 7):
        provider.person["groups"] = groups
        answer = browser.login()
        assert (answer.status_code, "no role here" in answer.text) == (403, True)
    assert _accounts(database) == []
    assert "endoedge" not in browser.us.cookies


def test_who_is_disabled_here_does_not_come_in(browser: _Browser, database: Database) -> None:
    browser.login()
    accounts.disable(database, "ada", by="cli:root")
    assert browser.login().status_code == 403
    assert browser.us.get("/account").status_code == 303


def test_a_name_is_no_way_into_another_s_account(browser: _Browser, provider: OidcProvider, database: Database) -> None:
    accounts.create(database, "ada", "Ada Local", "admin", people.PASSWORD, by="cli:root")
    browser.login()
    provider.person["sub"] = "4712"
    browser.login()
    assert [name for name, _, _ in _accounts(database)] == ["ada", "ada-2", "ada-3"]


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Ada", "ada"),
        ("Žofie Nováková", "zofie-novakova"),
        ("HOSPITAL\\ada", "hospital-ada"),
        ("ada@example.org", "ada@example.org"),
        ("../../etc", "etc"),
        ("日本", "person"),
        ("x" * 100, "x" * 56),
    ],
)
def test_names_of_accounts(said: str, name: str) -> None:
    assert identities.account_name(said) == name


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("lie", "claims", "why"),
    [
        ("", {"nonce": "another"}, "made for another login"),
        ("", {"nonce": None}, "nonce"),
        ("", {"nonce": 7}, "made for another login"),
        ("", {"aud": "another"}, "audience"),
        ("", {"aud": [CLIENT, "another"]}, "made for several applications"),
        ("", {"aud": [CLIENT, "another"], "azp": "another"}, "made for another application"),
        ("", {"iss": "https://evil.example"}, "issuer"),
        ("", {"exp": 1}, "expired"),
        ("", {"exp": None}, "exp"),
        ("", {"iat": 9_999_999_999}, "not yet valid"),
        ("", {"sub": ""}, "without a person"),
        ("", {"sub": None}, "sub"),
        ("", {"sub": "x" * 300}, "without a person"),
        ("alg none", {}, "algorithm none"),
        ("another key", {}, "Signature verification failed"),
        ("public key as secret", {}, "algorithm HS256"),
        ("published secret", {}, "algorithm HS256"),
        ("no consent", {}, "access_denied"),
        ("another provider", {}, "another identity provider"),
    ],
)
def test_a_token_that_lies_lets_nobody_in(
    browser: _Browser, provider: OidcProvider, database: Database, lie: str, claims: dict[str, Any], why: str
) -> None:
    provider.lie, provider.claims = lie, claims
    answer = browser.login()
    assert answer.status_code == 403
    assert why in answer.text
    assert "endoedge" not in browser.us.cookies
    assert _accounts(database) == []
    with database.read() as connection:
        assert [row.what for row in audit.lines(connection)] == ["login.failed"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_several_applications_and_ours_named(browser: _Browser, provider: OidcProvider) -> None:
    provider.claims = {"aud": [CLIENT, "another"], "azp": CLIENT}
    assert browser.login().status_code == 303


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_login_belongs_to_the_browser_that_began_it(
    app: FastAPI, browser: _Browser, running: tuple[OidcProvider, Path]
) -> None:
    """Somebody else's link back logs nobody in; nor does the same one twice."""
    theirs = browser.leave()
    other = _Browser(app, running[1])
    for answer in (other.come_back(theirs), (other.leave(), other.come_back(theirs))[1]):
        assert (answer.status_code, "not begun in this browser" in answer.text) == (403, True)
    assert browser.come_back(theirs).status_code == 303
    assert browser.come_back(theirs).status_code == 403


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_code_is_given_away_once_and_with_its_verifier(
    app: FastAPI, browser: _Browser, running: tuple[OidcProvider, Path]
) -> None:
    stolen = browser.leave()
    other = _Browser(app, running[1])
    other.leave()
    state = str(httpx.URL(str(other.leave().headers["location"])).params["state"])
    url = httpx.URL(stolen.headers["location"]).copy_set_param("state", state)
    answer = other.us.get(str(url))
    assert (answer.status_code, "invalid_grant" in answer.text) == (502, True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("cookie", ["", "x", "!!", "e30=", "bnVsbA=="])
def test_a_cookie_that_is_none(browser: _Browser, cookie: str) -> None:
    back = browser.leave()
    browser.us.cookies.clear()
    browser.us.headers["Cookie"] = f"endoedge-oidc={cookie}"
    assert browser.come_back(back).status_code == 403


def test_keys_change_at_any_time(running: tuple[OidcProvider, Path], provider: OidcProvider) -> None:
    now = [0.0]
    ours = Provider(_config(running), clock=lambda: now[0])

    def login() -> str:
        url, started = ours.start(BACK, "/", prove=False)
        query = httpx.URL(provider.authorize(dict(httpx.URL(url).params))).params
        return ours.finish(BACK, started, dict(query)).identity.subject

    assert login() == "4711"
    provider.asked.clear()
    assert login() == "4711"
    assert "/keys" not in provider.asked
    old, provider.key = provider.key, Key("second")
    now[0] = 5.0
    with pytest.raises(oidc.RefusedError, match="a key that the provider does not name"):
        login()  # asked a moment ago: whoever makes up names of keys makes us ask nobody
    assert "/keys" not in provider.asked
    now[0] = 11.0
    assert login() == "4711"
    provider.key = old
    now[0] = 22.0
    assert login() == "4711"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("lie", "metadata", "status", "why"),
    [
        ("no JSON", {}, 502, "without JSON"),
        ("endless", {}, 502, "an answer of more than"),
        ("", {"issuer": "https://evil.example"}, 502, "calls itself https://evil.example"),
        ("", {"token_endpoint": "http://127.0.0.1/token"}, 502, "expected https://"),
        ("", {"jwks_uri": None}, 502, "jwks_uri"),
    ],
)
def test_a_provider_that_is_none_is_named(
    app: FastAPI, provider: OidcProvider, lie: str, metadata: dict[str, Any], status: int, why: str
) -> None:
    provider.lie, provider.metadata = lie, metadata
    answer = people.browser(app).get("/login/oidc")
    assert (answer.status_code, why in answer.text) == (status, True), answer.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_provider_that_is_away_is_not_waited_for_by_everybody(
    database: Database, running: tuple[OidcProvider, Path]
) -> None:
    away = f"https://127.0.0.1:{broker.free_port()}"
    client = people.browser(people.application(database, Config(oidc=_config(running, issuer=away))))
    first, second = client.get("/login/oidc"), client.get("/login/oidc")
    assert (first.status_code, second.status_code) == (504, 504)
    assert "cannot be asked" in second.text
    assert first.text == second.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_provider_that_nobody_vouches_for_is_refused(
    database: Database, provider: OidcProvider, running: tuple[OidcProvider, Path]
) -> None:
    client = people.browser(people.application(database, Config(oidc=_config(running, ca=""))))
    answer = client.get("/login/oidc")
    assert (answer.status_code, "certificate" in answer.text) == (504, True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_secret_in_the_form_where_the_provider_wants_it_there(browser: _Browser, provider: OidcProvider) -> None:
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert browser.login().status_code == 303


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_role_deep_in_the_token(
    database: Database, provider: OidcProvider, running: tuple[OidcProvider, Path]
) -> None:
    provider.person["realm_access"] = {"roles": ["x", "it"]}
    app = people.application(database, Config(oidc=_config(running, role_claim="realm_access.roles")))
    assert _Browser(app, running[1]).login().status_code == 303
    assert _accounts(database)[0][2] == "admin"


def test_where_the_provider_alone_counts_no_password_does(
    database: Database, provider: OidcProvider, running: tuple[OidcProvider, Path]
) -> None:
    accounts.create(database, "eve", "Eve", "admin", people.PASSWORD, by="cli:root")
    app = people.application(database, Config(oidc=_config(running, only=True)))
    browser = _Browser(app, running[1])
    assert 'type="password"' not in browser.us.get("/login").text
    answer = browser.us.post("/login", data={"name": "eve", "password": people.PASSWORD})
    assert (answer.status_code, "takes no passwords" in answer.text) == (403, True)
    assert browser.login().status_code == 303


# --------------------------------------------------------------------------------------- before a signature


def _proven(database: Database, at: str | None = None) -> bool:
    with database.write() as connection:
        if at is not None:
            connection.execute(tables.sessions.update().values(proven_at=at))
        found = str(connection.execute(select(tables.sessions.c.proven_at)).scalar())
    return found > clock.later(-sessions.PROVEN_S)


def test_a_login_that_was_long_ago_there_is_long_ago_here(
    browser: _Browser, provider: OidcProvider, database: Database
) -> None:
    """The provider did not ask: the browser had a session with it."""
    provider.logged_in_at = time.time() - 3600
    browser.login()
    assert not _proven(database)


def test_a_provider_that_does_not_say_when_proves_nothing(
    browser: _Browser, provider: OidcProvider, database: Database
) -> None:
    provider.claims = {"auth_time": None}
    assert browser.login().status_code == 303
    assert not _proven(database)
    assert browser.login("?prove=1").status_code == 403


def test_a_person_shows_again_who_it_is(browser: _Browser, provider: OidcProvider, database: Database) -> None:
    browser.login()
    assert _proven(database)
    assert not _proven(database, clock.later(-3600))
    token = browser.us.cookies["endoedge"]
    answer = browser.login("?prove=1&next=/procedures/a/b")
    assert answer.headers["location"] == "/procedures/a/b"
    assert _proven(database)
    assert browser.us.cookies["endoedge"] == token  # the same session


def test_a_provider_that_does_not_ask_again_proves_nothing(
    browser: _Browser, provider: OidcProvider, database: Database
) -> None:
    provider.logged_in_at = time.time() - 3600
    browser.login()
    provider.lie = "old login"
    answer = browser.login("?prove=1")
    assert (answer.status_code, "did not ask you again" in answer.text) == (403, True)
    assert not _proven(database)


def test_somebody_else_proves_nothing(browser: _Browser, provider: OidcProvider, database: Database) -> None:
    browser.login()
    _proven(database, clock.later(-3600))
    provider.person["sub"] = "4712"
    answer = browser.login("?prove=1")
    assert (answer.status_code, "somebody else is logged in here" in answer.text) == (403, True)
    assert not _proven(database)


def test_a_password_that_there_is_not_is_not_asked_for(app: FastAPI, browser: _Browser, database: Database) -> None:
    browser.login()
    _proven(database, clock.later(-3600))
    csrf = people.csrf(browser.us.get("/account").text)
    answer = browser.us.post("/prove", data={"csrf": csrf, "password": "x"})
    assert (answer.status_code, signin.PROVE_THERE in answer.text) == (401, True)


# --------------------------------------------------------------------------------------------- configuration


def test_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    table = '[oidc]\nissuer = "{}"\nclient_id = "x"\nclient_secret_file = "s"\nroles = {{it = "{}"}}\n'
    file.write_text(table.format("https://id.example/realm", "admin"))
    found = load(file).oidc
    assert found is not None
    assert found.client_secret_file == str(tmp_path / "s")
    for issuer, role, why in [
        ("http://id.example", "admin", "expected https://"),
        ("id.example", "admin", "oidc.issuer"),
        ("https://id.example", "root", "oidc.roles"),
    ]:
        file.write_text(table.format(issuer, role))
        with pytest.raises(ConfigError, match=why):
            load(file)
