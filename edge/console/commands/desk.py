"""What every command may use."""

from __future__ import annotations

from typing import NamedTuple

from edge.audit import Audit
from edge.console.box import Box
from edge.console.gate import Gate


class Desk(NamedTuple):
    box: Box
    gate: Gate
    audit: Audit
