"""The serial console's daemon (docs/console.md), or a look at its audit log."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from edge import audit, config
from edge.audit import Audit
from edge.clock import Clock, SystemClock
from edge.config import ConsoleConfig, OutboxConfig, SiteConfig
from edge.console import tokens
from edge.console.box import Box
from edge.console.commands import COMMANDS
from edge.console.commands.desk import Desk
from edge.console.daemon import Daemon
from edge.console.gate import Gate
from edge.console.port import Port
from edge.console.shell import Shell
from edge.errors import AuditError, ConfigError, ConsoleError

log = logging.getLogger(__name__)

NEEDS = ("serial", "cryptography")
HELP = "diagnostics over a serial line"


class _Site(msgspec.Struct, frozen=True):
    """Of `endoedge.toml`, what the console cannot do without; its defaults stand in for a file that is broken."""

    device: config.Name = "unconfigured"
    run_dir: str = "/run/endoedge"
    outbox: OutboxConfig = OutboxConfig()
    console: ConsoleConfig = ConsoleConfig()


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, default=Path("/etc/endoedge/endoedge.toml"), metavar="FILE")
    parser.add_argument("--port", metavar="DEVICE", help="another line than the configuration's")
    parser.add_argument("--verify-audit", type=Path, metavar="PATH", help="prove an audit log: one file, or its folder")


def main(options: argparse.Namespace) -> int:
    if options.verify_audit:
        print(audit.verify(options.verify_audit))
        return 0
    running = daemon(options.config, options.port)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running.run(stop)
    return 0


def daemon(file: Path, port: str | None = None) -> Daemon:
    """The console of the box that `file` describes. A file that is broken is something that a console is there to
    tell, so it is no reason not to start."""
    if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
        raise ConsoleError(f"{' and '.join(missing)}: not installed; pip install 'endoedge[console]'")
    site, config_error = _read(file)
    base, clock = file.resolve().parent, SystemClock()
    line = port or site.console.port
    # A folder for each line: consoles on two of them are two processes, and a chain has one writer.
    state, keys = base / site.console.state_dir / Path(line).name, base / site.console.keys_dir
    _tell_of_the_audit_log(state)
    desk = Desk(
        box=_box(site, file.resolve(), config_error, clock),
        gate=Gate(site.device, lambda: tokens.load_keys(keys), state, clock, site.console.idle_s),
        audit=Audit(state, clock),
    )
    return Daemon(Port(line, site.console.baud, clock), Shell(desk, COMMANDS), clock)


def _tell_of_the_audit_log(state: Path) -> None:
    if audit.files(state):
        try:
            log.info("audit log: %s", audit.verify(state))
        except AuditError as exc:
            log.error("audit log does not hold: %s", exc)


def _box(site: _Site, file: Path, config_error: str, clock: Clock) -> Box:
    base = file.parent
    return Box(
        device=site.device,
        config_file=file,
        run_dir=base / site.run_dir,
        outbox=base / site.outbox.path,
        clock=clock,
        check=(sys.executable, "-m", "edge.cli", "check", "--deep", "--json", "-c", str(file)),
        config_error=config_error,
    )


def _read(file: Path) -> tuple[_Site, str]:
    """What of the file can be used, and what is wrong with it."""
    try:
        table = config.read_toml(file)
    except ConfigError as exc:
        return _Site(), str(exc)
    error = ""
    try:
        config.decode(table, SiteConfig, str(file))
    except ConfigError as exc:
        error = str(exc)
    return config.decode(_fitting(table), _Site, str(file)), error


def _fitting(table: dict[str, Any]) -> dict[str, Any]:
    """The keys whose values can be used; of a table that cannot be used as a whole, those of its keys."""
    fitting = {}
    for key, value in table.items():
        if _fits({key: value}):
            fitting[key] = value
        elif isinstance(value, dict):
            fitting[key] = {name: inner for name, inner in value.items() if _fits({key: {name: inner}})}
    return fitting


def _fits(table: dict[str, Any]) -> bool:
    try:
        msgspec.convert(table, _Site)
    except msgspec.ValidationError:
        return False
    return True
