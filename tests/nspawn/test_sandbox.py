"""Each rule of each unit is really enforced: what must not be done is tried, as root, under the unit's own rules."""

from __future__ import annotations

import json
import re

import pytest

from tests.nspawn import probe
from tests.nspawn.machine import CORE, PYTHON, ROOT, SAFE, UPLINK, Machine

pytestmark = pytest.mark.timeout(300)  # the first one waits for the boot
PROBE = f"{PYTHON} /opt/endoedge/checkout/tests/nspawn/probe.py"
# What makes a service of a probe; and its user, so that it is the rules that refuse, and not a file's owner.
LEFT_OUT = (
    r"(Type|Exec\w+|\w*Watchdog\w*|Restart\w*|Start\w+|OnFailure|Conflicts|After|Wants|PartOf|User|Group|Condition\w+)="
)
SELFTEST, ORDER = "endoedge-selftest.service", "endoedge-order@.service"
UPDATE, TRIAL, SWITCH, RAUC = (f"endoedge-{name}.service" for name in ("update", "trial", "switch", "rauc"))
ALLOWED = {
    CORE: {"video device", "ask the clock"},
    UPLINK: {"network", "ask the clock"},
    SAFE: set(),
    SELFTEST: {"network"},
    ORDER: set(),
    UPDATE: {"network", "ask the clock"},
    TRIAL: set(),
    SWITCH: set(),
    RAUC: {"list homes"},  # it may read what it is shown, and for homes that is an empty folder
}
# What nspawn itself forbids the whole box: setting the clock, ProtectHostname and ProtectKernelTunables stay untried.
CLOSED = {"clock", "host name", "kernel setting"}


def ask(box: Machine, name: str, text: str, command: str, user: str = "root", within_s: float = 60) -> str:
    """What a service with those lines prints last."""
    unit = f"probe-{name}"
    lines = [line for line in text.splitlines() if not re.match(LEFT_OUT, line)]
    lines.insert(lines.index("[Service]") + 1, f"Type=oneshot\nUser={user}\nExecStart={command}")
    (box.root / "etc/systemd/system" / f"{unit}.service").write_text("\n".join(lines))
    box.run("systemctl", "daemon-reload")
    started = box.attempt("systemctl", "start", unit, within_s=within_s)
    assert started.returncode == 0, started.stderr
    box.run("journalctl", "--sync")
    return box.run("journalctl", "-o", "cat", f"_SYSTEMD_UNIT={unit}.service").splitlines()[-1]


@pytest.fixture
def nodes(box: Machine) -> None:
    """Of a video device, and of another."""
    for name, major in (("video9", "81"), ("probe9", "10")):
        box.attempt("mknod", "-m", "666", f"/dev/{name}", "c", major, "9")


@pytest.mark.usefixtures("nodes")
def test_without_a_sandbox_all_of_it_can_be_done(box: Machine) -> None:
    """Or a refusal would prove nothing."""
    came_of_it = json.loads(ask(box, "free", "[Service]", PROBE))
    assert {name for name, why in came_of_it.items() if why} <= CLOSED, came_of_it


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("unit", list(ALLOWED))
def test_what_must_not_be_done_is_refused(box: Machine, unit: str) -> None:
    text = (ROOT / "systemd" / unit).read_text()
    came_of_it = json.loads(ask(box, re.sub(r"@?\.service", "", unit), text, PROBE))
    done = {name for name, why in came_of_it.items() if not why}
    assert done <= ALLOWED[unit], came_of_it
    assert ("network" in done) == ("network" in ALLOWED[unit])
    assert ("ask the clock" in done) == ("ask the clock" in ALLOWED[unit])
    assert set(came_of_it) == set(probe.ATTEMPTS)


def test_the_password_is_the_uplinks_alone(box: Machine) -> None:
    """As the core's own user, under the core's rules: neither by its name nor through the uplink's process."""
    process = box.pid(UPLINK)
    places = [
        "/etc/endoedge/credentials/mqtt-password",
        f"/run/credentials/{UPLINK}/mqtt-password",
        f"/proc/{process}/root/run/credentials/{UPLINK}/mqtt-password",
    ]
    assert box.run("cat", places[1]) == box.run("cat", places[0]) != ""
    text = (ROOT / "systemd" / CORE).read_text()
    for number, place in enumerate(places):
        said = ask(box, f"secret-{number}", text, f"/bin/sh -c 'cat {place} 2>/dev/null || echo refused'", "endoedge")
        assert said == "refused"
