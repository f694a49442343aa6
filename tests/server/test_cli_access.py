"""`endoedge-server account | box | audit`, as an administrator types them."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pexpect
import pytest

from server import accounts, cli, enrolment
from server.store.database import open_database
from tests.support.people import PASSWORD

pytestmark = pytest.mark.usefixtures("quick_passwords")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "server.toml"
    file.write_text('data_dir = "data"\n')
    (tmp_path / "password").write_text(f"{PASSWORD}\nsecond line\n")
    return file


class _Cli:
    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config, self._capsys = config, capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        try:
            code = cli.main(["--config", str(self.config), *words])
        except SystemExit as exc:
            code = int(str(exc.code))
        told = self._capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def command(config: Path, capsys: pytest.CaptureFixture[str]) -> _Cli:
    return _Cli(config, capsys)


def _create(command: _Cli, name: str = "ada", role: str = "admin") -> tuple[int, str, str]:
    file = str(command.config.parent / "password")
    return command("account", "create", name, "--full-name", "Ada L.", "--role", role, "--password-file", file)


def test_an_account_from_its_making_to_its_end(command: _Cli) -> None:
    assert command("account", "list") == (0, "", "")  # nobody by default
    assert _create(command) == (0, "account ada: Ada L., admin\n", "")
    database = open_database("", command.config.parent / "data")
    assert accounts.prove(database, "ada", PASSWORD).role == "admin"
    _create(command, "grace", "viewer")
    assert command("account", "role", "grace", "clinician")[0] == 0
    assert command("account", "disable", "grace")[0] == 0
    assert command("account", "list")[1] == (
        "ada  admin  Ada L.  password\ngrace  clinician  Ada L.  password  disabled\n"
    )
    assert command("account", "enable", "grace")[0] == 0
    (command.config.parent / "password").write_text("a quite different one")
    assert command("account", "password", "ada", "--password-file", str(command.config.parent / "password"))[0] == 0
    assert accounts.prove(database, "ada", "a quite different one")
    database.close()


def test_what_cannot_be_done_is_said(command: _Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    _create(command)
    assert _create(command) == (1, "", "error: account ada: there is one of that name\n")
    assert command("account", "disable", "ada")[2].startswith("error: account ada: the last administrator")
    assert command("account", "enable", "nobody")[0] == 1
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSWORD))
    code, _, said = command("account", "password", "ada")
    assert (code, "expected a terminal" in said) == (2, True)
    assert command("account", "password", "ada", "--password-file", "-")[0] == 0
    code, _, said = command("account", "password", "ada", "--password-file", "/nowhere")
    assert (code, "/nowhere" in said) == (1, True)
    assert command("account", "role", "ada", "root")[0] == 2
    assert (
        command("account", "create", "Ada", "--full-name", "A", "--role", "viewer", "--password-file", "/dev/null")[0]
        == 1
    )


def test_a_password_is_asked_for_and_not_shown(config: Path) -> None:
    words = ["-m", "server.cli", "--config", str(config), "account", "create", "ada", "--full-name", "Ada"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for second in ("something else", PASSWORD):
        child = pexpect.spawn(
            sys.executable, [*words, "--role", "admin"], env=environment, timeout=60, encoding="utf-8"
        )
        child.logfile_read = shown = io.StringIO()
        for typed in (PASSWORD, second):
            child.expect(": ")
            child.sendline(typed)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == (0 if second == PASSWORD else 2)
        assert PASSWORD not in shown.getvalue()


def test_a_box_from_its_code_to_its_end(command: _Cli) -> None:
    code = command("box", "code", "or-3", "--hours", "2")[1].strip()
    database = open_database("", command.config.parent / "data")
    assert command("box", "list") == (0, "", "")
    token = enrolment.enrol(database, "or-3", code)
    assert command("box", "list")[1] == "or-3  never seen  token\n"
    enrolment.box_of(database, token)
    assert command("box", "list")[1].startswith("or-3  seen 2")
    assert command("box", "revoke", "or-3") == (0, "box or-3: revoked\n", "")
    assert command("box", "list")[1].startswith("or-3  revoked 2")
    assert command("box", "revoke", "or-4")[0] == 1
    assert command("box", "code", "or 3")[0] == 1
    database.close()


def test_the_audit_is_shown_and_verified(command: _Cli) -> None:
    _create(command)
    command("box", "code", "or-3")
    head = command("audit", "head")[1]
    kept = command.config.parent / "head"
    kept.write_text(head)
    command("box", "code", "or-4")
    assert command("audit", "verify")[1].startswith("3 lines hold; head 3 ")
    assert command("audit", "verify", "--head", str(kept))[0] == 0
    lines = [json.loads(line) for line in command("audit", "show")[1].splitlines()]
    assert [line["what"] for line in lines] == ["account.create", "box.code", "box.code"]
    assert lines[0]["who"].startswith("cli:")
    assert [
        json.loads(line)["number"] for line in command("audit", "show", "--after", "1", "--most", "1")[1].split()
    ] == [2]
    assert command("audit", "show", "--who", "eve") == (0, "", "")
    kept.write_text("99 " + "0" * 64)
    code, _, said = command("audit", "verify", "--head", str(kept))
    assert (code, said) == (1, "line 4: missing: the chain once reached line 99\n")
    kept.write_text("what is this")
    assert command("audit", "verify", "--head", str(kept))[0] == 1
    assert command("audit", "verify", "--head", "/nowhere")[0] == 1
