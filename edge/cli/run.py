"""Run the box's processes: `core` (eyes, no network), `uplink` (mouth, no pixels), or both as children; `safe`,
the stand-in for a core that breaks again and again; or `update`."""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import signal
import threading
from pathlib import Path

HELP = "run the service from its configuration"

# Part → its file, imported when chosen: what a process does not do may not weigh on it. `serve(options, stop)` of each.
PARTS = {
    "core": "edge.cli.run_core",
    "uplink": "edge.cli.run_uplink",
    "all": "edge.cli.processes",
    "safe": "edge.cli.safe",
    "update": "edge.cli.run_update",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("part", nargs="?", choices=list(PARTS), default="all")
    parser.add_argument("-c", "--config", type=Path, default=Path("/etc/endoedge/endoedge.toml"), metavar="FILE")
    parser.add_argument("--rest", type=float, default=120.0, metavar="SECONDS", help="how long `safe` lasts")


def main(options: argparse.Namespace) -> int:
    faulthandler.enable()  # systemd's watchdog ends with SIGABRT what hangs: where it hung is then in the journal
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return int(importlib.import_module(PARTS[options.part]).serve(options, stop))
