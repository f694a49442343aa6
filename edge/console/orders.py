"""What the console has systemd do: an order is an empty file, named after the unit that is to be restarted.

`systemd/endoedge-order@.path` waits for it, root takes it away and restarts the unit, and what came of it is a file of
the same name in a folder of root's. Units that nobody waits for cannot be ordered. So the console's user needs no right
at all, and no D-Bus.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from edge.clock import Clock
from edge.console.job import Step, Wait
from edge.errors import ConsoleError

TAKEN_WITHIN_S = 15.0
_LOOK_S = 0.1


class Orders(NamedTuple):
    """The two folders."""

    asked: Path = Path("/run/endoedge-console")
    ended: Path = Path("/run/endoedge-orders")

    @property
    def there(self) -> bool:
        """Or this is no box, but a desk."""
        return self.asked.is_dir()


def order(orders: Orders, unit: str, clock: Clock, within_s: float) -> Generator[Step, bytes | None, None]:
    """Have `unit` restarted, and wait until it is. Raises ConsoleError. An order that nobody took is taken back, also
    when the command is ended."""
    ended = orders.ended / unit
    before = _written_ns(ended)
    yield from taken(orders, unit, clock)
    until_ns = clock.now_ns() + int(within_s * 1e9)
    while _written_ns(ended) == before or not (said := ended.read_text().split()):
        if clock.now_ns() > until_ns:
            raise ConsoleError(f"{unit}: not at an end within {within_s:.0f} s; see `log`")
        yield Wait(_LOOK_S)
    if said[0] != "success":
        raise ConsoleError(f"systemd could not restart {unit} ({' '.join(said)}); see `log`")


def taken(orders: Orders, unit: str, clock: Clock) -> Generator[Step, bytes | None, None]:
    """Order it, and wait until systemd has begun: all that a console lives to see of a reboot. Raises ConsoleError."""
    path = orders.asked / unit
    until_ns = clock.now_ns() + int(TAKEN_WITHIN_S * 1e9)
    try:
        path.touch()
    except OSError as exc:
        raise ConsoleError(f"{path}: cannot be made: {exc.strerror}; is this a box (docs/install.md)?") from exc
    try:
        while path.exists():
            if clock.now_ns() > until_ns:
                raise ConsoleError(f"systemd does not take the order: is endoedge-order@{unit}.path active?")
            yield Wait(_LOOK_S)
    finally:
        path.unlink(missing_ok=True)


def _written_ns(path: Path) -> int:
    """0 before the first time."""
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return 0
