"""Whose report it is. A pure value, known on the server alone and only from the signature on."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edge.types import Struct

_LINE = r"^[^\x00-\x1f\x7f\\^=]*\Z"  # what a DICOM name or number may hold (PS3.5, 6.2); `$` would let a line end pass
Line = Annotated[str, Meta(max_length=64, pattern=_LINE)]


class Patient(Struct, frozen=True, kw_only=True):
    """Joined when a report is signed, from a worklist or by hand. Never on a box, never in a draft."""

    id: Annotated[str, Meta(min_length=1, max_length=64, pattern=_LINE)]
    issuer: Line = ""  # who gave that id
    family: Annotated[str, Meta(min_length=1, max_length=64, pattern=_LINE)]
    given: Line = ""
    birth_date: Annotated[str, Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?\Z")] = ""
    sex: Literal["female", "male", "other", "unknown"] = "unknown"
    accession: Annotated[str, Meta(max_length=16, pattern=_LINE)] = ""
    study: Annotated[str, Meta(max_length=64, pattern=r"^([0-9]+(\.[0-9]+)+)?\Z")] = ""  # the worklist's study UID

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.family}, {self.given}" if self.given else self.family
