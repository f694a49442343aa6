"""Releases: made, signed and published. `tools/release.sh`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("build", "keys", "init", "sign", "publish", "share", "refresh", "status", "stick", "delta", "fleet")
# each: a file with HELP, arguments() and main()
