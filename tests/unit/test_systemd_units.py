"""The units as files: what `systemd-analyze` says of them, and what they name."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.cli import assemble
from edge.console.commands import power, selftest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))
# Ten times systemd's figure. What mounts a release for all others to see can have no namespace of its own.
EXPOSED = {"endoedge-slot": 37}


def no_analysis() -> str:
    """Why `systemd-analyze security --offline` cannot be had; "" when it can."""
    if not shutil.which("systemd-analyze"):
        return "systemd-analyze is not here"
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout
    return "" if int(said.split()[1]) >= 250 else "systemd 250 or later is needed"


@pytest.mark.skipif(bool(no_analysis()), reason=no_analysis())
@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_it_is_exposed_to_little(unit: Path) -> None:
    command = [
        "systemd-analyze",
        "security",
        "--no-pager",
        "--offline=true",
        f"--threshold={EXPOSED.get(unit.stem, 20)}",
    ]
    said = subprocess.run([*command, str(unit)], capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, ""), [*said.stdout.splitlines()[-1:], said.stderr]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_none_leaves_a_memory_dump_or_waits_for_network_or_clock(unit: Path) -> None:
    text = unit.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert "LimitCORE=0" in lines
    assert not [line for line in lines if "network-online" in line or "time-sync" in line]


def test_the_first_configuration_is_one() -> None:
    site = assemble.load_site(FOLDER / "endoedge.toml")
    assert str(site.outbox_path) == "/var/lib/endoedge/outbox.db"


def test_the_self_test_is_given_what_the_uplink_is_given() -> None:
    """Each secret, and an empty line in its place; or its rows would fail where the uplink works."""

    def given(unit: str) -> list[str]:
        return re.findall(r"^(?:Load|Set)Credential=.*$", (FOLDER / unit).read_text(), re.MULTILINE)

    assert given("endoedge-selftest.service") == given("endoedge-uplink.service") != []


def test_what_a_console_asks_for_may_be_ordered() -> None:
    ordered = set(re.findall(r"endoedge-order@(\S+)\.path", (FOLDER / "endoedge.target").read_text()))
    assert ordered == {*power.SERVICES.values(), power.REBOOT, selftest.UNIT}


def test_what_is_of_a_release_goes_with_it() -> None:
    """Whatever runs its program is stopped and started with it: Requires= does that. But a self-test, which is not to
    be started again."""
    of_a_release = [path for path in SERVICES if "/opt/endoedge/venv" in path.read_text()]
    assert len(of_a_release) == 6
    for path in of_a_release:
        needs = "Wants" if path.stem == "endoedge-selftest" else "Requires"
        lines = path.read_text().splitlines()
        assert {f"{needs}=endoedge-slot.service", "After=endoedge-slot.service"} <= set(lines), path


def test_the_system_s_part_is_in_no_release() -> None:
    for name in ("slot", "trial", "switch", "rauc", "bus"):
        text = (FOLDER / f"endoedge-{name}.service").read_text()
        assert "/opt/endoedge/venv" not in text
        assert re.findall(r"^ExecStart=(\S+)", text, re.MULTILINE)[0].startswith(
            ("/usr/lib/endoedge/slot", "/usr/bin/")
        )


def test_the_units_name_units_and_users_that_are_there() -> None:
    named = {
        name
        for path in [*SERVICES, FOLDER / "endoedge.target", FOLDER / "endoedge.rules"]
        for name in re.findall(
            r"(?<![/\w.-])endoedge[\w-]*(?:@[^\s\"]*)?\.(?:service|target|path|socket)", path.read_text()
        )
    }
    assert {re.sub(r"@.*(\.\w+)$", r"@\1", name) for name in named} <= {path.name for path in FOLDER.iterdir()}
    users = set(re.findall(r"^u (\S+)", (FOLDER / "endoedge.sysusers.conf").read_text(), re.MULTILINE))
    assert {user for unit in SERVICES for user in re.findall(r"^User=(\S+)", unit.read_text(), re.MULTILINE)} == users
