"""What the console's user may have done by systemd, and what it may not: as that user, under the console's rules."""

from __future__ import annotations

import json
import re

import pytest

from tests.nspawn.machine import CORE, PYTHON, ROOT, RUN, SAFE, UPLINK, Machine
from tests.nspawn.test_sandbox import ask

pytestmark = pytest.mark.timeout(300)  # the first one waits for the boot
SELFTEST = "endoedge-selftest.service"
ORDER = f"{PYTHON} /opt/endoedge/checkout/tests/nspawn/order.py"
CONSOLE = re.sub("BindsTo=.*", "", (ROOT / "systemd/endoedge-console@.service").read_text()).replace("%I", "null")


def as_console(box: Machine, name: str, command: str) -> str:
    return ask(box, f"console-{name}", CONSOLE, command, "endoedge-console", within_s=240)


def test_it_may_have_core_and_uplink_restarted(box: Machine) -> None:
    before = {unit: box.pid(unit) for unit in (CORE, UPLINK)}
    for unit in (CORE, UPLINK):
        assert as_console(box, "restarts", f"{ORDER} {unit} 120") == "done"
        assert box.active(unit)
        assert box.pid(unit) != before[unit]


def test_it_may_have_the_selftest_run_beside_the_service(box: Machine) -> None:
    """All of it in the unit's sandbox: the engine, the broker with its password, the disk; and the core goes on."""
    box.wait(lambda: json.loads(box.read(RUN / "status.json") or "{}").get("state") == "live", "the core is live")
    before = {unit: box.pid(unit) for unit in (CORE, UPLINK)}
    assert as_console(box, "tests", f"{ORDER} {SELFTEST} 180") == "done"
    report = json.loads(box.read(RUN / "selftest.json"))
    said = {row["what"]: (row["good"], row["found"]) for row in report["checks"]}
    print(f"self-test beside the service: {report['seconds']} s")
    for what in ("model", "golden vectors", "phantom", "capture", "outbox", "broker", "disk", "memory"):
        assert said[what][0] is True, said[what]
    assert "the running core is live" in said["capture"][1]
    assert "endoedge/box/check and back in" in said["broker"][1]
    assert {unit: box.pid(unit) for unit in (CORE, UPLINK)} == before
    assert box.run("sh", "-c", "ls -A /var/lib/endoedge | grep check || true") == ""


def test_a_selftest_that_finds_something_is_no_failed_unit(box: Machine) -> None:
    box.run("systemctl", "stop", "mosquitto")
    assert as_console(box, "finds", f"{ORDER} {SELFTEST} 180") == "done"
    report = json.loads(box.read(RUN / "selftest.json"))
    assert report["ok"] is False
    assert [row["what"] for row in report["checks"] if row["good"] is False] == ["broker"]
    assert box.show(SELFTEST, "Result") == "success"


def test_it_may_not_have_anything_else_done(box: Machine) -> None:
    said = as_console(box, "stops", f"/bin/sh -c 'systemctl --no-ask-password stop {CORE} >&2 || echo refused'")
    assert said == "refused"
    assert "does not take the order" in as_console(box, "orders", f"{ORDER} {SAFE} 120")
    assert box.active(CORE)
    assert not box.active(SAFE)


def test_others_may_not_give_orders(box: Machine) -> None:
    text = (ROOT / "systemd" / CORE).read_text()
    command = f"/bin/sh -c 'touch /run/endoedge-console/{UPLINK} 2>/dev/null || echo refused'"
    assert ask(box, "core-orders", text, command, "endoedge") == "refused"


def test_it_may_have_the_machine_restarted(box: Machine) -> None:
    """As far as reboot.target, which is an empty one here: a box that restarts between two tests helps nobody."""
    target = box.root / "etc/systemd/system/reboot.target"
    target.write_text("[Unit]\nDescription=the machine would restart now\n")
    box.run("systemctl", "daemon-reload")
    try:
        assert as_console(box, "reboots", f"{ORDER} reboot.target 0") == "done"
        box.wait(lambda: box.active("reboot.target"), "the machine would restart")
    finally:
        box.run("systemctl", "stop", "reboot.target")
        target.unlink()
        box.run("systemctl", "daemon-reload")
