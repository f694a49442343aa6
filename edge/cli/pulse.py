"""What connects the core's loop, its proof of life and the line that `systemctl status` shows."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.ledger import Ledger
from edge.systemd import Notifier
from edge.types import Findings, Gap, SignalState
from edge.watchdog import CHANGING, CORE_ROWS, CoreBeat, Pulse


class CorePulse:
    """Owner: the core loop's thread."""

    def __init__(self, ledger: Ledger, notifier: Notifier, last_words: Callable[[str], None]) -> None:
        """`last_words` hears why the loop has to end, once."""
        self._ledger, self._notifier, self._last_words = ledger, notifier, last_words
        self._pulse: Pulse[CoreBeat] = Pulse(notifier, CORE_ROWS, ready=lambda beat: beat.state not in CHANGING)
        self._analysed = self._told = 0
        self._told_s = time.monotonic()
        self._trouble = ""

    def hear(self, moment: Gap | Findings) -> None:
        """Of every moment, after all was done that it asks for. Ready: the first frame, or why there is none."""
        self._analysed += isinstance(moment, Findings)
        state = moment.state if isinstance(moment, Gap) else SignalState.LIVE
        # A late frame is no first frame: until there is one, a live signal is on its way.
        if state is SignalState.LIVE and not self._analysed:
            state = SignalState.STARTING
        beat = CoreBeat(time.monotonic_ns(), state, self._analysed)
        trouble = self._pulse.beat(beat, lambda: self._words(moment))
        if trouble and not self._trouble:
            self._trouble = trouble
            self._last_words(trouble)

    def close(self) -> None:
        self._notifier.say("STOPPING=1", "STATUS=ends")
        self._notifier.close()

    def _words(self, moment: Gap | Findings) -> str:
        now_s = time.monotonic()
        rate = (self._analysed - self._told) / max(now_s - self._told_s, 1e-9)
        self._told, self._told_s = self._analysed, now_s
        if isinstance(moment, Gap) and moment.state is not SignalState.LIVE:
            words = f"{moment.state.value}: {moment.detail}"
        else:
            words = f"live, {rate:.1f} frames a second"
        waiting = self._ledger.waiting
        return f"{words}; {waiting} events wait: {self._ledger.fault}" if waiting else words
