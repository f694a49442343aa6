"""When a procedure starts and ends: by the picture of the inside of a body."""

from __future__ import annotations

from edge.decide.config import ProcedureConfig
from edge.decide.moment import Moment, to_ns
from edge.messages import ProcedureEnded, ProcedureStarted


class Procedure:
    """At most one at a time, named `RUN-1`, `RUN-2`, ... `id` is "" between procedures.

    Both ends are told late (after `start_s`, `stop_s`) and dated back to when the picture came and went.
    """

    def __init__(self, config: ProcedureConfig, run_id: str) -> None:
        self._start_ns = to_ns(config.start_s)
        self._stop_ns = to_ns(config.stop_s)
        self._run_id = run_id
        self._count = 0
        self.id = ""
        self.present = False
        self._since_ns: int | None = None  # of `present`
        self._in_doubt = False
        self.started_ns = 0
        self.findings = 0

    def step(self, at: Moment, *, present: bool, since_ns: int, in_doubt: bool) -> ProcedureStarted | None:
        """`present`: there is a view of the inside; if that is new, it is so since `since_ns`.

        `in_doubt`: this very picture says otherwise, so nothing starts or ends with it.
        """
        if self._since_ns is None or present != self.present:
            self.present, self._since_ns = present, since_ns
        self._in_doubt = in_doubt
        if self.id or not present or in_doubt or at.ns - self._since_ns < self._start_ns:
            return None
        self._count += 1
        self.id, self.started_ns, self.findings = f"{self._run_id}-{self._count}", self._since_ns, 0
        return ProcedureStarted(procedure=self.id, captured_ns=at.captured_ns, media_ns=self.started_ns)

    def over(self, at: Moment) -> bool:
        """The picture has been away for long enough. The caller closes what is open, then calls `end`."""
        if not self.id or self.present or self._in_doubt or self._since_ns is None:
            return False
        return at.ns - self._since_ns >= self._stop_ns

    def end(self, at: Moment) -> ProcedureEnded:
        """Dated to the last picture of the inside. Only while there is a procedure."""
        away_ns = self._since_ns if not self.present and self._since_ns is not None else at.ns
        ended = ProcedureEnded(
            procedure=self.id,
            captured_ns=at.captured_ns,
            media_ns=away_ns,
            duration_ns=away_ns - self.started_ns,
            findings=self.findings,
        )
        self.id = ""
        return ended
