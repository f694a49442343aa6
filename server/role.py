"""What a person may do."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["viewer", "clinician", "admin"]
"""Each may do what the one before may: read; edit, ask and sign; accounts, boxes, audit."""
ROLES: tuple[Role, ...] = get_args(Role)


def may(role: str, wanted: Role) -> bool:
    return role in ROLES and ROLES.index(role) >= ROLES.index(wanted)
