"""`tools/install.sh` on a machine that has the distribution's packages and nothing of ours: install, upgrade, remove.

Needs the wheels for this Python in a folder, for a test downloads nothing:
    pip download -d DIR -c constraints.txt setuptools wheel .[metrics,console,update]
    ENDOEDGE_WHEELS=DIR pytest tests/nspawn/test_install.py
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from tests.nspawn import machine
from tests.nspawn.machine import CORE, ETC, ROOT, SITE, UPLINK, Machine

WHEELS = os.environ.get("ENDOEDGE_WHEELS", "")
SOURCE, SHELF = "srv/endoedge", "srv/wheels"
EDITED = SITE + "# edited by a person\n"
OURS = (
    "/opt/endoedge",
    "/usr/bin/endoedge",
    "/usr/share/endoedge",
    "/usr/lib/endoedge",
    "/usr/lib/sysusers.d/endoedge.conf",
    "/var/lib/endoedge-slots",
    "/run/endoedge-slots",
)
KEYS = ("--release-ca", "/srv/ca.pem", "--tuf-root", "/srv/root.json")


def install(box: Machine, *arguments: str) -> str:
    done = box.attempt(f"/{SOURCE}/tools/install.sh", *arguments, within_s=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def releases(box: Machine) -> list[str]:
    return box.run("ls", "/opt/endoedge/releases").split()


@pytest.mark.timeout(1500)
@pytest.mark.skipif(not WHEELS, reason="ENDOEDGE_WHEELS names no folder of wheels")
def test_install_upgrade_remove(tmp_path: Path, film: Path) -> None:
    binds = {ROOT: Path(SOURCE), Path(WHEELS): Path(SHELF)}
    with machine.bare(tmp_path, film, binds) as box:
        said = install(box, "--wheels", f"/{SHELF}")
        assert "endoedge 0." in said
        assert box.active(CORE)
        assert box.active(UPLINK)
        assert box.read(ETC / "endoedge.toml") == SITE  # it was there before
        assert box.run("systemctl", "is-enabled", "endoedge.target") == "enabled"
        (first,) = releases(box)
        core = box.pid(CORE)
        assert "no updates" in said
        assert box.show("endoedge-update.service", "ConditionResult") == "no"
        assert box.read(Path("run/endoedge-slots/booted")) == "F\n"
        about = json.loads(box.read(Path(f"opt/endoedge/releases/{first}/release.json")))
        assert about["hardware"][0].startswith(f"endoedge-{platform.machine()}-")
        assert f"compatible={about['hardware'][0]}\n" in box.read(ETC / "update/rauc.conf")
        assert box.run("cat", "/usr/lib/endoedge/system") == str(about["system"]) == "1"

        # As it was laid down before there were slots.
        box.run("ln", "-sfn", "/opt/endoedge/current/venv", "/opt/endoedge/venv")
        box.run("cp", "/srv/endoedge/LICENSE", "/srv/ca.pem")
        box.run("cp", "/srv/endoedge/LICENSE", "/srv/root.json")
        (box.root / "var/lib/endoedge-slots/boot.json").write_text("of slots that this takes the place of")
        (box.root / ETC / "endoedge.toml").write_text(EDITED)
        said = install(box, "--wheels", f"/{SHELF}", *KEYS)
        assert "no updates" not in said
        assert box.run("readlink", "/opt/endoedge/venv") == "/run/endoedge-slots/current/venv"
        assert box.attempt("test", "-e", "/var/lib/endoedge-slots/boot.json").returncode
        assert box.run("cat", "/etc/endoedge/update/root.json") == box.run("cat", "/srv/endoedge/LICENSE")
        assert box.read(ETC / "endoedge.toml") == EDITED
        (second,) = releases(box)
        assert second != first
        assert box.active(CORE)
        assert box.pid(CORE) != core
        assert second in box.run("readlink", "-f", "/usr/share/endoedge")

        assert "are kept" in install(box, "remove")
        for path in OURS:
            assert box.attempt("test", "-e", path).returncode, path
        assert box.show(CORE, "LoadState") == "not-found"
        assert box.read(ETC / "endoedge.toml") == EDITED
        assert box.attempt("test", "-s", "/var/lib/endoedge/outbox.db").returncode == 0

        install(box, "remove", "--purge")
        folders = ("/etc", "/opt", "/usr/lib", "/usr/share", "/var/lib", "/var/cache", "/run")
        left = box.run("find", *folders, "-xdev", "-iname", "*endoedge*", "-not", "-name", "endoedge-box.target")
        assert left == ""
        assert "endoedge" not in box.run("cat", "/etc/passwd", "/etc/group")
