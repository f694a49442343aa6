"""What the server says of itself, and to whom."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text, update

from server import clock, health, reports
from server.app import create
from server.config import Config, Http, load
from server.enrolment import enrol, make_code
from server.health import look
from server.keep import Folder
from server.store.database import Database, open_database
from server.store.tables import deliveries, undrafted
from server.worker import seated
from tests.support.procedures import record

HERE = ("127.0.0.1", 50_000)


def client(database: Database, config: Config, at: tuple[str, int] = HERE) -> TestClient:
    return TestClient(create(config, database, Folder(config.folder / "frames")), client=at)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data_dir=str(tmp_path))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_S", 0.0)


def figures(web: TestClient, **headers: str) -> dict[tuple[str, str], float]:
    answer = web.get("/metrics", headers=headers)
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(one.name, one.labels.get("target", "")): one.value for family in families for one in family.samples}


def test_it_counts_what_is_there(database: Database, config: Config) -> None:
    web = client(database, config)
    enrol(database, "box-1", make_code(database, "box-1", "test"))
    with database.write() as connection:
        for number in range(3):
            one = record(f"p-{number}")
            reports.keep_record(connection, one, msgspec.json.encode(one))
        connection.execute(update(undrafted).values(received_at=clock.later(-3600)))
        for target, state in (("pacs", "waiting"), ("fhir", "refused"), ("fhir", "sent")):
            key = {"device": "box-1", "procedure": state, "revision": 1, "number": 1}
            connection.execute(deliveries.insert(), {**key, "target": target, "state": state, "at": clock.now()})
    with seated(database, config.folder / "workers"):
        found = figures(web)
        assert found["endoedge_server_workers", ""] == 1
    assert found["endoedge_server_undrafted", ""] == 3
    assert 3600 <= found["endoedge_server_oldest_undrafted_seconds", ""] < 3700
    assert (found["endoedge_server_boxes", ""], found["endoedge_server_boxes_seen", ""]) == (1, 0)
    assert found["endoedge_server_deliveries_waiting", "pacs"] == 1
    assert found["endoedge_server_deliveries_refused", "fhir"] == 1
    assert found["endoedge_server_deliveries_refused", "stow"] == 0
    assert figures(web)["endoedge_server_workers", ""] == 0
    answer = web.get("/health")
    assert (answer.status_code, answer.json()["ok"], answer.json()["reasons"]) == (200, True, [])
    assert [warning.partition(":")[0] for warning in answer.json()["warnings"]] == [
        "no worker runs",
        "3 records wait for a draft, the oldest for 3600 s",
        "1 deliveries were refused by fhir, and wait for a person",
    ]


def test_a_database_that_is_behind_or_newer_is_said(database: Database, config: Config) -> None:
    web = client(database, config)
    assert web.get("/health").status_code == 200
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    answer = web.get("/health")
    assert answer.status_code == 503
    assert "form 0001, expected" in answer.json()["reasons"][0]
    assert figures(web)["endoedge_server_up", ""] == 0
    assert ("endoedge_server_undrafted", "") not in figures(web)
    assert web.get("/alive").text == "alive\n"


def test_a_database_that_is_away_is_said_without_its_password(config: Config, tmp_path: Path) -> None:
    away = open_database("postgresql://ada:geheim@127.0.0.1:1/reports", tmp_path)
    web = client(away, config)
    answer = web.get("/health")
    assert (answer.status_code, web.get("/alive").status_code) == (503, 200)
    assert "127.0.0.1:1/reports" in answer.json()["reasons"][0]
    assert "geheim" not in answer.text + web.get("/metrics").text
    away.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_place_for_key_frames_that_is_none_is_said(database: Database, config: Config) -> None:
    (config.folder / "frames").write_text("a file")
    answer = client(database, config).get("/health")
    assert answer.status_code == 503
    assert str(config.folder / "frames") in answer.json()["reasons"][0]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_figures_are_for_this_machine_or_for_who_has_the_token(database: Database, config: Config) -> None:
    away = client(database, config, ("192.0.2.7", 1))
    assert away.get("/metrics").status_code == 403
    assert away.get("/health").json() == {"ok": True}
    proxied = client(database, config).get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"})
    assert proxied.status_code == 403
    file = config.folder / "token"
    file.write_text("long-and-random\n")
    config = replace(config, http=Http(metrics_token_file=str(file)))
    away = client(database, config, ("192.0.2.7", 1))
    for sent in ("", "Bearer", "Bearer wrong", "long-and-random", "Bearer \0"):
        assert away.get("/metrics", headers={"Authorization": sent}).status_code == 403
    assert client(database, config).get("/metrics").status_code == 403, "this machine needs it, too"
    assert figures(away, Authorization="Bearer long-and-random")["endoedge_server_up", ""] == 1
    file.write_text("\n")
    assert away.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 403
    file.unlink()
    assert away.get("/metrics", headers={"Authorization": "Bearer long-and-random"}).status_code == 403


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_asks_often_asks_the_database_once(
    database: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FRESH_S", 60.0)
    looks = 0

    def counted(*asked: object) -> health.Health:
        nonlocal looks
        looks += 1
        return look(config, database, Folder(config.folder / "frames"))

    monkeypatch.setattr(health, "look", counted)
    web = client(database, config)
    assert {web.get(path).status_code for path in ("/health", "/metrics", "/health")} == {200}
    assert looks == 1


def test_the_tokens_file_is_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text('[http]\nmetrics_token_file = "token"\n')
    assert load(tmp_path / "server.toml").http.metrics_token_file == str(tmp_path / "token")
