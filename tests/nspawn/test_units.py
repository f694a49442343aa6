"""The units under a real systemd."""

from __future__ import annotations

from tests.nspawn.machine import CORE, UPLINK, Machine


def test_boot_to_ready(box: Machine) -> None:
    for unit in (CORE, UPLINK):
        assert box.active(unit)
