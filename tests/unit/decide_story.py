"""Streams for the tests of `edge.decide`: frames and gaps at 25 a second, told in one line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import settings

from edge.decide.config import (
    JudgementRow,
    LandmarkRow,
    ProcedureConfig,
    RulesConfig,
    SignalRow,
    TrackRow,
    TracksConfig,
    ViewConfig,
    ViewRow,
)
from edge.decide.rules import Rules
from edge.messages import (
    Alert,
    AlertCleared,
    Event,
    FindingEnded,
    Judged,
    LandmarkReached,
    Priority,
    ProcedureEnded,
    ProcedureStarted,
    SignalChanged,
    ViewChanged,
)
from edge.types import Box, Classification, Detection, Findings, Gap, Quality, SignalState, View

settings.register_profile("busy", deadline=None)  # machines that run tests are busy
settings.load_profile("busy")

TICK_NS = 40_000_000
Item = Findings | Gap

ORDER = (
    SignalChanged,
    ViewChanged,
    ProcedureStarted,
    LandmarkReached,
    FindingEnded,
    AlertCleared,
    Alert,
    Judged,
    ProcedureEnded,
)

POLYP_ROW = TrackRow(kind="polyp", label="polyp", priority=Priority.MEDIUM, text="polyp {track}", hold_s=1.0)
SIGNAL_ROW = SignalRow(
    kind="no_signal", states=(SignalState.NO_SIGNAL,), priority=Priority.HIGH, text="{state}", after_s=0.5, hold_s=0.5
)
VIEW_ROW = ViewRow(
    kind="poor_view", states=(View.POOR,), priority=Priority.LOW, text="{reason}", after_s=1.0, hold_s=0.5, repeat_s=4.0
)
CAECUM_ROW = LandmarkRow(kind="caecum", head="landmark", label="caecum", newest=1.0, confirm=3, window=4, forget_s=1.0)
PREPARATION_ROW = JudgementRow(kind="preparation", head="preparation", min_views=20)
CONFIG = RulesConfig(
    tracks=TracksConfig(confirm=3, window=5, end_after_frames=5, end_after_s=0.4),
    view=ViewConfig(debounce_s=0.2, poor_grace_s=0.4, hold_s=1.0),
    procedure=ProcedureConfig(start_s=0.4, stop_s=3.0),
    alerts=(POLYP_ROW, SIGNAL_ROW, VIEW_ROW),
    landmarks=(CAECUM_ROW,),
    judgements=(PREPARATION_ROW,),
)


def detection(x: float = 100.0, y: float = 100.0, size: float = 80.0, score: float = 0.9) -> Detection:
    """A square region with its centre at (x, y)."""
    half = size / 2
    return Detection(label="polyp", box=(x - half, y - half, x + half, y + half), score=score, area=0.02)


def classes(**said: tuple[str, float]) -> tuple[Classification, ...]:
    """`classes(landmark=("caecum", 0.9))`."""
    return tuple(Classification(head=head, label=label, score=score) for head, (label, score) in said.items())


def quality(view: View, reason: str = "") -> Quality:
    return Quality(view=view, reason=reason, luma=0.4, glare=0.0, redness=0.5, detail=9.0)


class Story:
    """Appends frames and gaps, each `TICK_NS` after the last."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.media_ns = 0

    def frame(self, *found: Detection | Classification, view: View = View.GOOD, reason: str = "") -> Story:
        self.items.append(
            Findings(
                seq=len(self.items),
                captured_ns=self.media_ns + 5,
                media_ns=self.media_ns,
                detections=tuple(one for one in found if isinstance(one, Detection)),
                classifications=tuple(one for one in found if isinstance(one, Classification)),
                quality=quality(view, reason),
            )
        )
        self.media_ns += TICK_NS
        return self

    def frames(
        self, seconds: float, *found: Detection | Classification, view: View = View.GOOD, reason: str = ""
    ) -> Story:
        for _ in range(round(seconds * 1e9 / TICK_NS)):
            self.frame(*found, view=view, reason=reason)
        return self

    def gaps(self, seconds: float, state: SignalState = SignalState.NO_SIGNAL) -> Story:
        for _ in range(round(seconds * 1e9 / TICK_NS)):
            self.items.append(Gap(captured_ns=self.media_ns + 5, media_ns=self.media_ns, state=state, detail="cable"))
            self.media_ns += TICK_NS
        return self

    def events(self, config: RulesConfig = CONFIG, *, finish: bool = True) -> list[Event]:
        return [event for step in play(self.items, config, finish=finish) for event in step]


def play(items: Sequence[Item], config: RulesConfig = CONFIG, *, finish: bool = True) -> list[list[Event]]:
    """The events of each step, and of the finish."""
    rules = Rules(config, "run")
    steps = [rules.step(item) for item in items]
    if finish and items:
        steps.append(rules.finish(items[-1].captured_ns, items[-1].media_ns))
        assert rules.finish(items[-1].captured_ns, items[-1].media_ns) == []
    return steps


def only(kind: type, events: Iterable[Event]) -> list:
    return [event for event in events if type(event) is kind]


def iou(a: Box, b: Box) -> float:
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(across, 0) * max(down, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
