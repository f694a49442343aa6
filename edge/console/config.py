"""`[console]` of the site's configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edge.types import Struct


class ConsoleConfig(Struct, frozen=True, kw_only=True):
    """Which line the console answers on, and whose tokens open it."""

    port: str = "/dev/ttyGS0"
    """A USB gadget's, a UART's or any other tty's device node."""
    baud: Annotated[int, Meta(ge=1200, le=4_000_000)] = 115_200
    """A USB gadget has none and takes any."""
    keys_dir: str = "/etc/endoedge/service-keys"
    """Ed25519 public keys, `*.pem`. Without one nobody can log in."""
    state_dir: str = "/var/lib/endoedge-console"
    """The audit log and what is known of failed logins."""
    idle_s: Annotated[int, Meta(ge=30, le=3600)] = 600
    """A login that is not used for so long ends."""
