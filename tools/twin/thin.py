"""A release's root folder without what takes room: program, models, pipelines are the checkout's, packages the twin's.

The host makes images of such folders; the guest lays one down as the release that was installed first.
"""

from __future__ import annotations

import json
from pathlib import Path

CHECKOUT = Path("/opt/endoedge/checkout")  # in the guest
PYTHON = "python3.11"  # the guest's
_PACKAGES = f"/opt/twin/venv/lib/{PYTHON}/site-packages"
_PROGRAM = "#!/opt/endoedge/venv/bin/python\nimport sys\n\nfrom edge.cli import main\n\nsys.exit(main())\n"


def lay(folder: Path, version: str = "", filling: bytes = b"") -> Path:
    """`version`: default is the program's own. `filling`: what is to be fetched and written, and never read."""
    site, programs = folder / f"venv/lib/{PYTHON}/site-packages", folder / "venv/bin"
    for path in (site, programs, folder / "share"):
        path.mkdir(parents=True)
    (folder / "venv/pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    (programs / "python").symlink_to(f"/usr/bin/{PYTHON}")
    (site / "endoedge.pth").write_text(f"{CHECKOUT}\n{_PACKAGES}\n")
    (programs / "endoedge").write_text(_PROGRAM)
    (programs / "endoedge").chmod(0o755)
    for name in ("models", "pipelines"):
        (folder / "share" / name).symlink_to(CHECKOUT / name)
    if version:
        (folder / "release.json").write_text(json.dumps({"version": version}))
    if filling:
        (folder / "filling").write_bytes(filling)
    return folder
