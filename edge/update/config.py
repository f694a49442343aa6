"""`[update]` of the site's file, and what a box is to the updater."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edge.types import Struct
from edge.update.gate import Needs
from edge.update.policy import Rules
from edge.updating import WISHES


class Places(Struct, frozen=True, kw_only=True):
    """`[update.places]`: where everything is; a box needs none of it said."""

    state: str = "/var/lib/endoedge-update"
    slots: str = "/var/lib/endoedge-slots"
    running: str = "/run/endoedge-slots"
    orders: str = "/run/endoedge-update"
    wishes: str = str(WISHES)
    bus: str = "unix:path=/run/endoedge-update-bus/bus"
    root_keys: str = "/etc/endoedge/update/root.json"
    rauc: str = "/etc/endoedge/update/rauc.conf"
    system: str = "/usr/lib/endoedge/system"


class UpdateConfig(Rules, frozen=True, kw_only=True):
    """`[update]`."""

    url: Annotated[str, Meta(max_length=1000, pattern=r"^(https?://[^/\s]+\S*)?$(?!\n)")] = ""
    """The repository's address. Empty: releases come on sticks alone."""
    ca: str = ""  # PEM; default: those whom this machine trusts
    every_h: Annotated[float, Meta(ge=0.01, le=24 * 30)] = 6.0  # that it is looked what is offered
    gate: Needs = Needs()
    places: Places = Places()
