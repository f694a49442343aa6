"""The record of a procedure: one JSON document, of which its report is made. What the box saw and measured, and plainly
what it did not. For outsiders: `docs/schemas/procedure.schema.json`.

Times are seconds since the procedure's start, in media time. Everything that a report may say has an `id`; a sentence
of a report cites the ids that support it. Nobody's name is in here: the box does not know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from edge.types import Box, Struct

VERSION = 1  # of this document's form; a reader refuses one that it does not know

Id = Annotated[str, Meta(pattern="^[A-Z][0-9]{1,6}$")]
"""A letter for what it is, and a number: F finding, L landmark, J judgement, I interruption, T time."""
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
"""sha256."""
State = Literal["running", "ended", "interrupted"]
Phase = Literal["insertion", "withdrawal", ""]
"""Before and after the landmark at which the endoscope turns back; "" where none was seen, or the pipeline has none."""


class KeyFrame(Struct, frozen=True, kw_only=True):
    """A JPEG of the endoscope's field, black outside it; the tower's overlay is not in it."""

    sha256: Digest
    size: int  # bytes
    width: int
    height: int
    at_s: float
    box: Box | None = None  # in the picture, px: what it shows


class Finding(Struct, frozen=True, kw_only=True):
    """A confirmed track. No size, no histology, no site: nothing measured them."""

    id: Id
    label: str  # "polyp"
    track: int
    phase: Phase
    first_seen_s: float
    last_seen_s: float
    best_seen_s: float
    frames: int
    best_score: float  # 0..1
    alerted: bool  # it was announced while it was in view
    scores: tuple[float, ...] = ()  # over time: the best of each stretch from `first_seen_s` on; 0: not seen in it
    scores_every_s: float = 0.0  # how long a stretch is
    key_frame: KeyFrame | None = None


class Landmark(Struct, frozen=True, kw_only=True):
    id: Id
    kind: str  # "caecum"
    first_seen_s: float
    best_score: float
    key_frame: KeyFrame | None = None


class Judgement(Struct, frozen=True, kw_only=True):
    """What one head said over all good views. `label` is "" without a verdict."""

    id: Id
    kind: str  # "preparation"
    label: str
    views: int
    unsure: int
    shares: dict[str, float]


class Interruption(Struct, frozen=True, kw_only=True):
    """There was no picture to look at."""

    id: Id
    state: str  # a signal's
    from_s: float
    to_s: float


class Times(Struct, frozen=True, kw_only=True):
    """How long. None: not known; `Record.not_recorded` says why."""

    id: Id = "T1"
    duration_s: float
    insertion_s: float | None = None
    withdrawal_s: float | None = None
    withdrawal_tool_s: float | None = None  # of it, with an instrument in view
    withdrawal_poor_s: float | None = None  # of it, without a good view and without an instrument
    view_s: dict[str, float]  # "good", "poor: blur", "out_of_body", ... → how long
    effort_s: dict[str, float] = field(default_factory=dict)
    """A rung of `edge/decide/ladder.py`, "full" first → how long the box did so much."""


class Made(Struct, frozen=True, kw_only=True):
    """By what."""

    software: str
    model: str
    model_version: str
    model_sha256: str
    precision: str
    pipeline: str
    pipeline_sha256: str


class Heading(Struct, frozen=True, kw_only=True):
    """Where, when and by what; known when a procedure starts."""

    device: str
    boot: str  # the kernel's boot id
    started_at: str  # wall clock, RFC 3339, UTC
    clock_trusted: bool  # whether that can be believed
    started_ns: int  # CLOCK_MONOTONIC of `boot`
    made_by: Made


class Record(Struct, frozen=True, kw_only=True):
    """`procedure` is unique in the world; a later `revision` takes the place of an earlier one."""

    version: int = VERSION
    procedure: Annotated[str, Meta(pattern="^[0-9A-Za-z-]{1,64}$")]
    revision: Annotated[int, Meta(ge=1)]
    state: State
    heading: Heading
    times: Times
    landmarks: tuple[Landmark, ...] = ()
    findings: tuple[Finding, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    not_recorded: dict[str, str]  # what a report would say, and why it cannot

    def __post_init__(self) -> None:
        """Raises ValueError, which a decoder gives as its own. `$` of the patterns above is that of JSON Schema, and
        lets Python take a line end for the end."""
        for text in (self.procedure, *self.ids(), *(frame.sha256 for frame in self.key_frames())):
            if text.endswith("\n"):
                raise ValueError(f"{text!r} ends with a line end")

    def key_frames(self) -> Iterator[KeyFrame]:
        """All of them, landmarks' first."""
        frames = [landmark.key_frame for landmark in self.landmarks] + [finding.key_frame for finding in self.findings]
        yield from (frame for frame in frames if frame is not None)

    def ids(self) -> set[str]:
        """What a sentence may cite."""
        classes = {one.id for one in self.landmarks} | {one.id for one in self.judgements}
        return {self.times.id} | classes | {one.id for one in self.findings} | {one.id for one in self.interruptions}
