"""`endoedge` as a process, as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def endoedge(*arguments: object, folder: Path = ROOT, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Started in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "edge.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
