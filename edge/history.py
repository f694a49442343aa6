"""The last things that went wrong, for whoever comes when they are over. Pure: time comes with the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge.types import Struct

KEPT = 10


class Trouble(Struct, frozen=True, kw_only=True):
    """One stretch of time in which something was wrong. CLOCK_MONOTONIC: of one boot, as its file."""

    where: str  # "signal", "outbox", "broker"
    what: str  # as it was said last
    since_ns: int
    until_ns: int = 0  # 0: it lasts


class History:
    """The newest `KEPT`, oldest first. Owner: one thread."""

    def __init__(self, earlier: Sequence[Trouble] = (), now_ns: int = 0) -> None:
        """`earlier`: of the process before this one. What lasted then is over with it, or is found anew; what is from
        the future is of another boot."""
        self._kept = [_ended(trouble, now_ns) for trouble in earlier if trouble.since_ns <= now_ns][-KEPT:]

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        return tuple(self._kept)

    def step(self, wrong: Mapping[str, str], now_ns: int) -> None:
        """`wrong`: where → what, of everything that is wrong now; an empty text is nothing. Other words for what lasts
        are the same trouble."""
        lasting = {trouble.where: index for index, trouble in enumerate(self._kept) if not trouble.until_ns}
        for where, index in lasting.items():
            what, before = wrong.get(where, ""), self._kept[index]
            if not what:
                self._kept[index] = _ended(before, now_ns)
            elif what != before.what:
                self._kept[index] = Trouble(where=where, what=what, since_ns=before.since_ns)
        fresh = [(where, what) for where, what in wrong.items() if what and where not in lasting]
        self._kept += [Trouble(where=where, what=what, since_ns=now_ns) for where, what in fresh]
        del self._kept[:-KEPT]

    def note(self, where: str, what: str, now_ns: int) -> None:
        """What was over before it could be seen."""
        self._kept.append(Trouble(where=where, what=what, since_ns=now_ns, until_ns=now_ns))
        del self._kept[:-KEPT]


def _ended(trouble: Trouble, now_ns: int) -> Trouble:
    if trouble.until_ns:
        return trouble
    return Trouble(where=trouble.where, what=trouble.what, since_ns=trouble.since_ns, until_ns=now_ns)
