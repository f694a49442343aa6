"""`endoedge-server account`: people. The first account is made here; there is none by default."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from edge.errors import UsageError
from server import accounts
from server.cli.means import opened, operator
from server.errors import ServerError
from server.role import ROLES


def add(commands: Any) -> None:
    parser = commands.add_parser("account", help="people: make, list, change")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make an account; its password is asked for")
    create.add_argument("name", metavar="NAME", help="to log in with: a-z, 0-9 and . _ @ + -")
    create.add_argument("--full-name", required=True, metavar="TEXT", help="as it stands under a report")
    create.add_argument("--role", required=True, choices=ROLES)
    password = actions.add_parser("password", help="another password; ends the account's sessions and its lock")
    for action in (create, password):
        action.add_argument(
            "--password-file", type=Path, metavar="FILE", help="read it from the first line of a file, - for stdin"
        )
    role = actions.add_parser("role", help="another role; ends the account's sessions")
    disable = actions.add_parser("disable", help="nobody logs in with it; ends its sessions")
    enable = actions.add_parser("enable", help="takes that back, and a lock")
    for action in (password, role, disable, enable):
        action.add_argument("name", metavar="NAME")
    role.add_argument("role", choices=ROLES)
    actions.add_parser("list", help="all of them")
    for name, action in actions.choices.items():
        action.set_defaults(run=run, action=name)


def run(options: argparse.Namespace) -> int:
    with opened(options) as means:
        database, by = means.database, operator()
        if options.action == "list":
            for account in accounts.everybody(database):
                print(_line(account))
            return 0
        if options.action == "create":
            made = accounts.create(
                database, options.name, options.full_name, options.role, _password(options.password_file), by=by
            )
            print(f"account {made.name}: {made.full_name}, {made.role}")
            return 0
        if options.action == "password":
            accounts.set_password(database, options.name, _password(options.password_file), by=by)
        elif options.action == "role":
            accounts.set_role(database, options.name, options.role, by=by)
        elif options.action == "disable":
            accounts.disable(database, options.name, by=by)
        else:
            accounts.enable(database, options.name, by=by)
    print(f"account {options.name}: done; its sessions have ended")
    return 0


def _line(account: accounts.Account) -> str:
    how = "password" if account.local else f"by {account.issuer}"
    state = "disabled" if account.disabled else f"locked until {account.locked_until}" if account.locked_until else ""
    return "  ".join(part for part in (account.name, account.role, account.full_name, how, state) if part)


def _password(file: Path | None) -> str:
    if file is not None:
        try:
            text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ServerError(f"--password-file {file}: {exc}") from exc
        return text.partition("\n")[0]
    if not sys.stdin.isatty():
        raise UsageError("expected a terminal to ask for the password, or --password-file FILE")
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Again: "):
        raise UsageError("the password was not typed the same way twice")
    return first
