"""Over HTTP from the release that was installed to one, and on to the next: by a person's consent, not while there is
a procedure, on trial, held; the pictures go on, and no message of the switches is lost."""

from __future__ import annotations

from tools.twin.guest import switching, updates
from tools.twin.guest.twin import Twin

UPDATES = "http"
LIMIT_S = 900.0


def run(twin: Twin) -> None:
    switching.begin(twin)
    for version in updates.given().versions:
        switching.change(twin, version, name="a whole release" if version == updates.given().whole else "")
    twin.wait("every message between the first and the last", lambda: _whole(twin.sequence_numbers()) or None)


def _whole(numbers: list[int]) -> bool:
    return sorted(numbers) == list(range(min(numbers), max(numbers) + 1))
