"""docs/security.md says what is so: the tests, ports, accounts, files and lines that it names are there."""

from __future__ import annotations

import re
import stat
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
LISTENS = re.compile(r"start_http_server\(|\.bind\(|create_server\(|\budpsrc\b")


def test_every_test_that_proves_something_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE))
    assert len(named) > 30
    assert not [
        f"{file}::{name}" for file, name in sorted(named) if f"\ndef {name}(" not in (ROOT / file).read_text("utf-8")
    ]


def test_every_control_has_one() -> None:
    rows = PAGE.partition("## Threats")[2].partition("\n## ")[0].splitlines()[4:]
    assert not [row for row in rows if row.startswith("| ") and not re.search(r"::\w+`|\| there \|", row)]


def test_whoever_listens_is_named() -> None:
    listeners = {
        str(path.relative_to(ROOT)) for path in (ROOT / "edge").rglob("*.py") if LISTENS.search(path.read_text("utf-8"))
    }
    table = PAGE.partition("What listens:")[2].partition("\n\nThere is no web server")[0]
    assert set(re.findall(r"`(edge/[\w/]+\.py)`", table)) == listeners


def test_the_report_server_s_listeners_and_controls_are_named() -> None:
    section = PAGE.partition("\n## The report server")[2].partition("\n## ")[0]
    listeners = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "server").rglob("*.py")
        if LISTENS.search(path.read_text("utf-8"))
    }
    assert set(re.findall(r"\| `(server/[\w/]+\.py)` \|", section)) == listeners
    rows = section.partition("| threat | control | shown by |\n|---|---|---|\n")[2].partition("\n\n")[0].splitlines()
    assert len(rows) > 10
    assert not [row for row in rows if not re.search(r"::\w+`", row)]


def test_accounts_and_folders_are_those_of_the_units() -> None:
    users = re.findall(r"^u (\S+)", (ROOT / "systemd/endoedge.sysusers.conf").read_text(), re.MULTILINE)
    table = PAGE.partition("| account | runs | groups |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == users
    for line in (ROOT / "systemd/endoedge.tmpfiles.conf").read_text().splitlines():
        if line.startswith("d "):
            _, path, mode, user, group = line.split()
            owner = "root" if user == "root" else f"{user}:{group}"
            assert f"| `{path}` | {mode} {owner} |" in PAGE
    for unit, setting in (("endoedge-console@", "State"), ("endoedge-core", "Cache")):
        text = (ROOT / "systemd" / f"{unit}.service").read_text()
        name, mode = (re.findall(rf"^{setting}Directory{what}=(\S+)", text, re.MULTILINE)[0] for what in ("", "Mode"))
        base = {"State": "/var/lib", "Cache": "/var/cache"}[setting]
        assert re.search(rf"\| `{base}/{name}` \| {mode} ", PAGE)


def test_secrets_are_those_that_the_uplink_is_given() -> None:
    unit = (ROOT / "systemd/endoedge-uplink.service").read_text()
    for place in re.findall(r"^LoadCredential=\S+?:(\S+)", unit, re.MULTILINE):
        assert f"| `{place}` |" in PAGE


def test_what_it_tells_to_run_can_be_run() -> None:
    for program in re.findall(r"`(tools/[\w.]+)", PAGE):
        assert (ROOT / program).stat().st_mode & stat.S_IXUSR, program
