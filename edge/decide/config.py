"""The rules' numbers: clinical behaviour as data, read from `pipelines/NAME.toml`. Seconds are media time."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from edge.errors import ConfigError
from edge.messages import Priority
from edge.types import SignalState, Struct, View

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, Meta(ge=0.0, le=3600.0)]
Frames = Annotated[int, Meta(ge=1, le=64)]
Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$", max_length=40)]
Said = Mapping[str, Sequence[str]]
"""Head → the labels that it may say."""


class TracksConfig(Struct, frozen=True, kw_only=True):
    """How detections become tracks, and when a track is believed and given up."""

    start_score: Share = 0.6
    """A detection begins a track from this score on; any detection continues one."""
    confirm: Frames = 4
    """Seen in so many ..."""
    window: Frames = 6
    """... of so many frames: then the track is confirmed."""
    end_after_frames: Frames = 5
    """A track ends when unseen for so many frames ..."""
    end_after_s: Seconds = 0.6
    """... and for so long: the first guards slow machines, the second fast ones."""
    min_iou: Share = 0.2
    """A detection belongs to a track whose predicted box it overlaps so much ..."""
    reach: Annotated[float, Meta(ge=0.0, le=3.0)] = 0.5
    """... or whose predicted centre is within this many diagonals of the larger box."""

    def __post_init__(self) -> None:
        if self.confirm > self.window:
            raise ValueError(f"confirm = {self.confirm} can never be reached within window = {self.window} frames")


class ViewConfig(Struct, frozen=True, kw_only=True):
    """When a change of the picture's condition is believed, and what a bad picture does to tracks."""

    debounce_s: Seconds = 0.4
    """The picture's view is believed to have changed when it has differed for so long."""
    poor_grace_s: Seconds = 0.5
    """Tracks are still begun and confirmed for so long in a poor view."""
    hold_s: Seconds = 2.0
    """Without a good picture, tracks are held for so long before they begin to be missed."""


class ToolConfig(Struct, frozen=True, kw_only=True):
    """The head that sees an instrument in the picture: what it says is time that was not spent on looking."""

    head: Name
    label: Annotated[str, Meta(min_length=1, max_length=40)]
    score: Annotated[float, Meta(ge=0.5, le=1.0)] = 0.5


class ProcedureConfig(Struct, frozen=True, kw_only=True):
    """A procedure starts and ends with the picture of the inside of a body."""

    start_s: Seconds = 2.0
    """Good or poor view for so long."""
    stop_s: Seconds = 30.0
    """No such view, or no signal, for so long."""
    turn: str = ""
    """The landmark at which insertion ends and withdrawal begins."""
    tool: ToolConfig | None = None


class _Row(Struct, frozen=True, kw_only=True):
    """What every row of the alert table says."""

    WORDS: ClassVar[dict[str, Any]]
    """What `text` may say in braces, with an example of each."""

    kind: Name
    priority: Priority
    text: Annotated[str, Meta(min_length=1, max_length=200)]
    after_s: Seconds = 0.0
    """The condition must have lasted so long."""
    hold_s: Seconds = 1.0
    """The alert stays active for so long after its condition ended; then it is cleared."""

    def __post_init__(self) -> None:
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(self.text) if name is not None]
            self.text.format(**self.WORDS)
        except (KeyError, IndexError, AttributeError, TypeError, ValueError):
            names = [""]
        if not set(names) <= set(self.WORDS):
            allowed = ", ".join(f"{{{word}}}" for word in self.WORDS)
            raise ValueError(f"text = {self.text!r} may only use {allowed}")


class TrackRow(_Row, frozen=True, kw_only=True, tag_field="when", tag="track"):
    """A confirmed track with this label, within a procedure. Once a track, unless `repeat_s` says otherwise."""

    WORDS = {"label": "polyp", "track": 1, "score": 0.5}  # noqa: RUF012
    in_procedure: ClassVar[bool] = True

    label: Name
    repeat_s: Seconds | None = None
    """Say it again after so long, while the track is confirmed and seen. 0 is every frame, for benchmarks."""


_STATE_WORDS = {"state": "poor", "reason": "blur"}


class ViewRow(_Row, frozen=True, kw_only=True, tag_field="when", tag="view"):
    """The believed view is one of these."""

    WORDS = _STATE_WORDS
    states: Annotated[tuple[View, ...], Meta(min_length=1)]
    repeat_s: Seconds = 30.0
    """At most one such alert in this time."""
    in_procedure: bool = True
    """Only within a procedure."""


class SignalRow(_Row, frozen=True, kw_only=True, tag_field="when", tag="signal"):
    """The source's state is one of these."""

    WORDS = _STATE_WORDS
    states: Annotated[tuple[SignalState, ...], Meta(min_length=1)]
    repeat_s: Seconds = 30.0
    """At most one such alert in this time."""
    in_procedure: bool = True
    """Only within a procedure."""


AlertRow = TrackRow | ViewRow | SignalRow


class LandmarkRow(Struct, frozen=True, kw_only=True):
    """A place that is reached once in a procedure, when a head has said so for long enough. Only good views count."""

    kind: Name
    head: Name
    label: Annotated[str, Meta(min_length=1, max_length=40)]
    newest: Annotated[float, Meta(ge=0.01, le=1.0)] = 0.3
    """How much the newest view counts in the smoothed score, which begins at 0; 1 does not smooth."""
    score: Annotated[float, Meta(ge=0.5, le=1.0)] = 0.8
    """The smoothed score must be so high ..."""
    confirm: Frames = 10
    """... in so many ..."""
    window: Frames = 12
    """... of so many good views."""
    forget_s: Seconds = 2.0
    """After so long without a good view it begins anew."""

    def __post_init__(self) -> None:
        if self.confirm > self.window:
            raise ValueError(f"confirm = {self.confirm} can never be reached within window = {self.window} views")


class JudgementRow(Struct, frozen=True, kw_only=True):
    """A verdict on a whole procedure, from what a head said of each good view."""

    kind: Name
    head: Name
    score: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.6
    """Views where the head is less sure count for nothing."""
    min_views: Annotated[int, Meta(ge=1, le=1_000_000)] = 250
    """No verdict on fewer views than this ..."""
    min_share: Annotated[float, Meta(gt=0.5, le=1.0)] = 0.6
    """... or when no label has so large a share of them."""


class RulesConfig(Struct, frozen=True, kw_only=True):
    """All of it. A pipeline file is this plus the model and its heads."""

    tracks: TracksConfig = TracksConfig()
    view: ViewConfig = ViewConfig()
    procedure: ProcedureConfig = ProcedureConfig()
    alerts: tuple[AlertRow, ...] = ()
    landmarks: tuple[LandmarkRow, ...] = ()
    judgements: tuple[JudgementRow, ...] = ()

    def __post_init__(self) -> None:
        for table in ("alerts", "landmarks", "judgements"):
            kinds = [row.kind for row in getattr(self, table)]
            for kind in kinds:
                if kinds.count(kind) > 1:
                    raise ValueError(f'{table}: kind = "{kind}" is there twice; a row is known by its kind')

    def require(self, regions: Said, classes: Said) -> None:
        """ConfigError unless the heads can say all that these tables are about.

        `regions`: of the heads that find regions; `classes`: of those that judge whole pictures.
        """
        for place, alert in enumerate(self.alerts):
            if isinstance(alert, TrackRow):
                labels = [label for said in regions.values() for label in said]
                _expect(f"alerts[{place}].label", alert.label, labels, "regions are called")
        for place, landmark in enumerate(self.landmarks):
            _expect(f"landmarks[{place}].head", landmark.head, classes, "heads that judge whole pictures")
            labels = list(classes[landmark.head])
            _expect(f"landmarks[{place}].label", landmark.label, labels, f'labels of the model\'s "{landmark.head}"')
        if self.procedure.turn:
            _expect("procedure.turn", self.procedure.turn, [row.kind for row in self.landmarks], "landmarks")
        if self.procedure.tool is not None:
            tool = self.procedure.tool
            _expect("procedure.tool.head", tool.head, classes, "heads that judge whole pictures")
            _expect("procedure.tool.label", tool.label, classes[tool.head], f'labels of the model\'s "{tool.head}"')
        for place, judgement in enumerate(self.judgements):
            _expect(f"judgements[{place}].head", judgement.head, classes, "heads that judge whole pictures")


def _expect(key: str, name: str, known: Iterable[str], what: str) -> None:
    names = list(known)
    if name not in names:
        raise ConfigError(f'{key} is "{name}"; {what}: {", ".join(names) or "none"}')
