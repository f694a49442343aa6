"""A release's root folder without what takes room: program, models, pipelines and packages lie elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from edge import __version__

_PROGRAM = '#!/bin/sh\nexec "$(dirname "$0")/python" -m edge.cli "$@"\n'


class Elsewhere(NamedTuple):
    """As the machine sees it on which the release runs."""

    checkout: Path
    packages: str
    python: str  # such as python3.11


def lay(folder: Path, elsewhere: Elsewhere, version: str = "", filling: bytes = b"") -> Path:
    """`version`: without one it is as it was installed. `filling`: is to be fetched and written, and never read."""
    site, programs = folder / f"venv/lib/{elsewhere.python}/site-packages", folder / "venv/bin"
    for path in (site, programs, folder / "share"):
        path.mkdir(parents=True)
    (folder / "venv/pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    (programs / "python").symlink_to(f"/usr/bin/{elsewhere.python}")
    (site / "endoedge.pth").write_text(f"{elsewhere.checkout}\n{elsewhere.packages}\n")
    (programs / "endoedge").write_text(_PROGRAM)
    (programs / "endoedge").chmod(0o755)
    for name in ("models", "pipelines"):
        (folder / "share" / name).symlink_to(elsewhere.checkout / name)
    if version:
        (folder / "release.json").write_text(json.dumps({"version": version, "package": __version__}))
    if filling:
        (folder / "filling").write_bytes(filling)
    return folder
