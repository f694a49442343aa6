"""Verdicts on a whole procedure: how often a head said what, over all good views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edge.decide.config import JudgementRow
from edge.messages import Judged, ProcedureEnded
from edge.types import Classification


class Tally:
    """One row of the table, within one procedure."""

    def __init__(self, row: JudgementRow) -> None:
        self._row = row
        self._counts: Counter[str] = Counter()
        self._unsure = 0

    def see(self, said: Sequence[Classification]) -> None:
        """One good view on."""
        for one in said:
            if one.head == self._row.head and self._row.score <= one.score <= 1.0:
                self._counts[one.label] += 1
                return
        self._unsure += 1

    def judged(self, ended: ProcedureEnded) -> Judged:
        views = sum(self._counts.values())
        shares = {label: count / views for label, count in sorted(self._counts.items())}
        label = max(shares, key=lambda label: shares[label], default="")  # above one half: there are no equals
        sure = views >= self._row.min_views and shares[label] >= self._row.min_share
        return Judged(
            kind=self._row.kind,
            procedure=ended.procedure,
            captured_ns=ended.captured_ns,
            media_ns=ended.media_ns,
            label=label if sure else "",
            views=views,
            unsure=self._unsure,
            shares=shares,
        )


class Judgements:
    """All rows of the table. `close` says what became of them, and forgets the procedure."""

    def __init__(self, rows: Sequence[JudgementRow]) -> None:
        self._rows = tuple(rows)
        self._tallies = [Tally(row) for row in self._rows]

    def step(self, said: Sequence[Classification]) -> None:
        """One good view of a procedure."""
        for tally in self._tallies:
            tally.see(said)

    def close(self, ended: ProcedureEnded) -> list[Judged]:
        """One a row, in the table's order."""
        judged = [tally.judged(ended) for tally in self._tallies]
        self._tallies = [Tally(row) for row in self._rows]
        return judged
