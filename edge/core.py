"""The straight path: one thread, five calls a frame. Everything else in this package serves these lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge.decide.rules import Rules
from edge.heads import Heads
from edge.ledger import Ledger
from edge.messages import Event
from edge.timing import Stages
from edge.types import Backend, Findings, Gap, Source

STAGES = ("wait", "capture", "infer", "heads", "decide", "commit", "report")
PYTHON_STAGES = ("capture", "heads", "decide", "report")  # our own share: not waiting, nor the model, nor the disk
NEXT_WITHIN_S = 0.25  # also how long a stop may take to be noticed

Report = Callable[[Gap | Findings, Sequence[Event]], None]


def run(
    source: Source,
    backend: Backend,
    heads: Heads,
    rules: Rules,
    ledger: Ledger,
    stages: Stages,
    report: Report,
    stop: Callable[[], bool],
) -> Gap | Findings | None:
    """Work until the source is over or `stop()`; returns the last moment seen (None: there was none).

    `report` hears of every moment after its events were committed. Raises CaptureError and InferenceError.
    """
    moment: Gap | Findings | None = None
    while not stop() and not (isinstance(moment, Gap) and moment.final):
        stages.start()
        frame = source.next(NEXT_WITHIN_S)
        stages.lap("capture", waiting=("wait", source.waited_ns))
        if isinstance(frame, Gap):
            moment = frame
        else:
            outputs = backend.infer(frame.image)
            frame.release()
            stages.lap("infer")
            moment = heads.decode(outputs, frame)
            stages.lap("heads")
        events = rules.step(moment)
        stages.lap("decide")
        ledger.put(events)
        stages.lap("commit")
        report(moment, events)
        stages.lap("report")
    if moment is not None:
        ledger.put(rules.finish(moment.captured_ns, moment.media_ns))
    ledger.flush()
    return moment
