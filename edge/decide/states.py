"""Two small states: the source's signal, and what the picture is good for."""

from __future__ import annotations

from edge.decide.config import ViewConfig
from edge.decide.moment import Moment, to_ns
from edge.messages import SignalChanged, ViewChanged
from edge.types import SignalState, View

IN_BODY = frozenset({View.GOOD, View.POOR})


class Signal:
    """The source's state as last said. `since_ns`: from when on; None before the first step."""

    def __init__(self) -> None:
        self.state = SignalState.STARTING
        self.detail = ""
        self.since_ns: int | None = None

    def step(self, at: Moment, state: SignalState, detail: str = "") -> SignalChanged | None:
        if self.since_ns is None:
            self.since_ns = at.ns
        if state == self.state:
            return None
        previous, self.state, self.detail, self.since_ns = self.state, state, detail, at.ns
        return SignalChanged(state=state, previous=previous, captured_ns=at.captured_ns, media_ns=at.ns, detail=detail)


class ViewGate:
    """The believed view, and whether regions may be trusted under it.

    The view changes when the picture has differed from the believed one for `debounce_s`; it then takes the picture's
    present view, from when the difference began. No picture at all is a black one.
    """

    def __init__(self, config: ViewConfig) -> None:
        self._debounce_ns = to_ns(config.debounce_s)
        self._grace_ns = to_ns(config.poor_grace_s)
        self._hold_ns = to_ns(config.hold_s)
        self.view = View.BLACK
        self.reason = ""
        self.since_ns: int | None = None
        self._differs_ns: int | None = None
        self._unsure_ns: int | None = None
        self.trusted = False
        """Tracks may begin and be confirmed."""
        self.held = False
        """Not a good picture, but not for long: a track that is not seen now is not missed."""
        self.in_body = False
        """This very picture is from inside a body."""

    @property
    def settled(self) -> bool:
        """This very picture has the believed view: nothing that takes time comes due while it is in doubt."""
        return self._differs_ns is None

    @property
    def good(self) -> bool:
        """This very picture is good, and so have been those before it."""
        return self.view is View.GOOD and self.settled

    def step(self, at: Moment, view: View, reason: str) -> ViewChanged | None:
        """`view`: of this picture."""
        change = self._believe(at, view, reason)
        self.in_body = view in IN_BODY
        lasted = at.ns - (self.since_ns if self.since_ns is not None else at.ns)
        poor_too_long = self.view is View.POOR and lasted >= self._grace_ns
        self.trusted = self.in_body and self.view in IN_BODY and not poor_too_long
        if self.trusted and view is View.GOOD:
            self._unsure_ns = None
        elif self._unsure_ns is None:
            self._unsure_ns = at.ns
        self.held = self._unsure_ns is not None and at.ns - self._unsure_ns < self._hold_ns
        return change

    def _believe(self, at: Moment, view: View, reason: str) -> ViewChanged | None:
        if self.since_ns is None:
            self.since_ns = at.ns
        if view is self.view:
            self._differs_ns = None
            return None
        if self._differs_ns is None:
            self._differs_ns = at.ns
        if at.ns - self._differs_ns < self._debounce_ns:
            return None
        previous, self.view, self.reason = self.view, view, reason
        self.since_ns, self._differs_ns = self._differs_ns, None
        return ViewChanged(view=view, previous=previous, captured_ns=at.captured_ns, media_ns=at.ns, reason=reason)
