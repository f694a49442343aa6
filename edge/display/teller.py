"""What of the core's moments the display is told: each new picture, each change, and a word now and then."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from edge.display.wire import EVERY_NS, Sender, Shown, ShownBox
from edge.messages import Alert, AlertCleared, Event, ViewChanged
from edge.types import Box, Findings, Gap, SignalState, Still, View


class Teller:
    """Owner: the core loop's thread. Neither raises nor blocks; see `Sender`."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._alerts: dict[tuple[str, int], str] = {}  # active, oldest first
        self._view = View.BLACK  # what the rules believe before they have seen anything
        self._last: tuple[SignalState, View | None] | None = None
        self._said_ns = self._captured_ns = 0

    def step(
        self,
        moment: Gap | Findings,
        events: Sequence[Event],
        still: Still | None = None,
        confirmed: Collection[Box] = (),
    ) -> None:
        """`still`: the newest there is. `confirmed`: the boxes of the tracks that are confirmed."""
        for event in events:
            self._follow(event)
        now_ns = time.monotonic_ns()
        findings = moment if isinstance(moment, Findings) else None
        state = SignalState.LIVE if isinstance(moment, Findings) else moment.state
        live = state is SignalState.LIVE
        view = (self._view if findings is None or findings.quality is not None else None) if live else None
        new = still if live and still is not None and still.captured_ns != self._captured_ns else None
        if new is None and (state, view) == self._last and now_ns - self._said_ns < EVERY_NS:
            return
        self._last, self._said_ns = (state, view), now_ns
        self._captured_ns = new.captured_ns if new else self._captured_ns
        shown = Shown(
            said_ns=now_ns,
            state=state,
            detail="" if isinstance(moment, Findings) else moment.detail,
            view=view,
            boxes=_boxes(findings, confirmed) if findings else (),
            alerts=tuple(self._alerts.values()),
            captured_ns=new.captured_ns if new else 0,
            jpeg=new.jpeg if new else b"",
            field=new.field if new else None,
        )
        self._sender.send(shown)

    def _follow(self, event: Event) -> None:
        if isinstance(event, ViewChanged):
            self._view = event.view
        elif isinstance(event, Alert):
            self._alerts[event.kind, event.track] = event.text
        elif isinstance(event, AlertCleared):
            self._alerts.pop((event.kind, event.track), None)

    def close(self) -> None:
        self._sender.close()


def _boxes(findings: Findings, confirmed: Collection[Box]) -> tuple[ShownBox, ...]:
    """A track that was seen has the very box of the detection that it was seen by."""
    return tuple(
        ShownBox(label=seen.label, box=seen.box, score=seen.score, confirmed=seen.box in confirmed)
        for seen in findings.detections
    )
