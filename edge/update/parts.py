"""What the updater is made of, and what it sees and does of the machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from edge.audit import Audit
from edge.update.client import Client
from edge.update.config import UpdateConfig
from edge.update.gate import Sample
from edge.update.install import Rauc
from edge.update.policy import Box, Moment
from edge.update.state import Health, Slots
from edge.update.wishes import Wishes


class World(Protocol):
    """What the updater sees and does of the machine. None of it waits."""

    def slots(self) -> Slots: ...

    def moment(self) -> Moment: ...

    def health(self) -> Health:
        """How the release that runs does."""

    def sample(self, began_s: float) -> Sample:
        """... while it is on trial, since `began_s` (CLOCK_BOOTTIME)."""

    def trial(self) -> tuple[float, float]:
        """When it began, and when the system goes back. CLOCK_BOOTTIME."""

    def restart(self) -> None:
        """Has the machine start whichever release is to run now. Raises UpdateError."""

    def test(self) -> None:
        """Has the release's self-test begin: `sample` tells how it ended. Raises UpdateError."""

    def now(self) -> datetime | None:
        """None: the clock is not to be believed."""


class Parts(NamedTuple):
    config: UpdateConfig
    box: Box  # `refused` and `agreed` are filled in here
    client: Client
    rauc: Callable[[], Rauc]
    world: World
    audit: Audit
    wishes: Wishes
