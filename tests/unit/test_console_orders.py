"""What the console has others do: orders that systemd takes or does not, and the self-test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.console import orders
from edge.console.orders import Orders
from tests.support.console import Person, Systemd, make_keys, script


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_keys(tmp_path)


def test_what_becomes_of_an_order_is_told(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "TAKEN_WITHIN_S", 0.5)
    with Systemd(tmp_path, {"endoedge-core.service": "exit-code exited 1"}) as systemd:
        person = Person(tmp_path, orders=systemd.orders)
        person.logs_in(key)
        said = person.asks("reset core")
        assert "systemd could not restart endoedge-core.service (exit-code exited 1)" in said.replace("\r\n", " ")
        assert "systemd does not take the order" in person.asks("reset uplink")
        assert list(systemd.orders.asked.iterdir()) == []  # or it would be carried out when nobody expects it
    desk = Person(tmp_path, orders=Orders(tmp_path / "nowhere", tmp_path / "nowhere"))
    desk.logs_in(key)
    assert "is this a box" in desk.asks("reboot now")


def test_who_ends_the_waiting_takes_the_order_back(tmp_path: Path, key: Path) -> None:
    (tmp_path / "asked").mkdir()
    person = Person(tmp_path, orders=Orders(tmp_path / "asked", tmp_path / "ended"))
    person.logs_in(key)
    person.shell.feed(b"reboot now\r")
    person.shell.step()
    assert [path.name for path in (tmp_path / "asked").iterdir()] == ["reboot.target"]
    assert "interrupted" in person.types("\x03")
    assert list((tmp_path / "asked").iterdir()) == []


ROWS = [
    {"what": "model", "good": True, "found": "polyp", "mend": ""},
    {"what": "broker", "good": False, "found": "no answer", "mend": "see [uplink]"},
    {"what": "watchdog", "good": None, "found": "not tried: none here", "mend": ""},
]


def report(at_ns: int = 0) -> str:
    return json.dumps({"ok": False, "checks": ROWS, "exit": 1, "seconds": 1.0, "at_ns": at_ns})


def test_selftest_is_the_check_s_page(tmp_path: Path, key: Path) -> None:
    person = Person(tmp_path, check=script(tmp_path / "check", f"echo noise; echo '{report()}'; exit 1"))
    person.logs_in(key)
    said = person.asks("selftest")
    assert "NO  broker         no answer" in said
    assert "to mend it: see [uplink]" in said
    assert "--  watchdog       not tried: none here" in said
    assert said.endswith("failed: self-test: 1 of 2 failed, 1 not tried\r\n")
    broken = Person(tmp_path, check=script(tmp_path / "check", "echo Killed; exit 137"))
    broken.logs_in(key)
    assert "broke off: Killed" in broken.asks("selftest")


def test_on_a_box_the_selftest_is_a_unit_s(tmp_path: Path, key: Path) -> None:
    result, unit = tmp_path / "run/selftest.json", "endoedge-selftest.service"

    def ends(_unit: str) -> None:
        result.write_text(report(at_ns=2_000_000_000_000))

    with Systemd(tmp_path, {unit: "success exited 1"}, acts=ends) as systemd:
        person = Person(tmp_path, orders=systemd.orders, check=("/nonexistent",))
        person.logs_in(key)
        assert person.asks("selftest").endswith("failed: self-test: 1 of 2 failed, 1 not tried\r\n")
        person.clock.pass_s(2000)
        person.logs_in(key)
        assert "is of an earlier self-test" in person.asks("selftest")
