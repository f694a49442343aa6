"""The same without a network: each release is on a USB stick (FAT), and `endoedge update install --from` names it."""

from __future__ import annotations

from tools.twin.guest import switching, updates
from tools.twin.guest.twin import Twin

UPDATES = "stick"
LIMIT_S = 900.0


def run(twin: Twin) -> None:
    switching.begin(twin)
    for number, version in enumerate(updates.given().versions):
        stick = updates.mount_stick(f"STICK{number}")
        switching.change(twin, version, "--from", str(stick))
