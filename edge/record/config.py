"""`[record]` of the site's configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edge.types import Struct


class RecordConfig(Struct, frozen=True, kw_only=True):
    """What is kept of a procedure on this box: pictures of the endoscope's field alone, never of the overlay. Its
    record is kept wherever one of these is, or a report server is to have it."""

    key_frames: bool = True
    """One picture of each finding that was announced, and of each landmark."""
    clips: bool = False
    """Some seconds around each."""
    path: str = ""
    """Default: `spool`, beside the outbox."""
    max_mib: Annotated[int, Meta(ge=1, le=1_048_576)] = 512
    """What the report server has is removed first, then the oldest."""
    keep_sent: Annotated[int, Meta(ge=0, le=100_000)] = 20
    """So many procedures stay here after the report server has them: the newest."""
    rate: Annotated[float, Meta(ge=1, le=60)] = 12.5
    """Pictures a second that can be kept."""
    before_s: Annotated[float, Meta(ge=0, le=30)] = 6.0
    after_s: Annotated[float, Meta(ge=0, le=30)] = 4.0
    """A clip begins so long before a finding was announced and ends so long after it."""
