"""Which message to publish now, and which is delivered: one lane per topic, pure (no clock, no I/O).

Go-back-n with a slow start. A lane sends in order of seq with up to `window` messages under way. Whatever goes wrong
(a refusal, nobody subscribed, no acknowledgement in time, a lost connection) takes it back to the oldest undelivered
message, alone, until that one gets through; then the window opens again. So a subscriber that comes back never sees a
later message before an earlier one. (A broker that refuses one message and takes the next of the same window still can
disorder the two; `Message.seq` tells.)
"""

from __future__ import annotations

from typing import NamedTuple

from edge.uplink.backoff import Backoff

SUCCESS, NO_MATCHING_SUBSCRIBERS = 0x00, 0x10


class Rules(NamedTuple):
    """What counts as delivered; see `UplinkConfig` for the reasons."""

    window: int
    require_subscriber: bool
    confirm_timeout_s: float | None  # None: the broker's word is enough


class Flight(NamedTuple):
    seq: int
    id: str
    sent_s: float


class Lane:
    """One topic's way out. Times are seconds of any monotonic clock. Owner: the uplink's thread."""

    def __init__(self, rules: Rules, backoff: Backoff) -> None:
        self._rules, self._backoff = rules, backoff
        self._limit = 1
        self._hold_until_s = 0.0
        self._going_back = False
        self._highest = 0
        self._flights: dict[int, Flight] = {}  # by packet id, until the PUBACK
        self._deadlines: dict[int, float] = {}  # by seq, until the subscriber's acknowledgement; this round only
        self._ids: dict[str, int] = {}  # id → seq of all that a subscriber may still acknowledge
        self.cursor = 0  # the last seq sent in this round: ask the outbox for what comes after it
        self.done: set[int] = set()  # delivered, not yet deleted: never send again
        self.trouble = ""  # why the oldest message is not delivered; "" when nothing is wrong
        self.sent = self.republished = self.no_subscriber = self.refused = 0

    def restart(self) -> None:
        """A new connection (or outbox file): everything not delivered is sent again, in order."""
        self._flights.clear()
        self._start_over()

    def room(self, now_s: float) -> int:
        """How many messages after `cursor` may be sent now."""
        if now_s < self._hold_until_s or (self._going_back and self._flights):
            return 0
        if self._going_back:
            self._start_over()
        return max(0, self._limit - max(len(self._flights), len(self._deadlines)))

    def sending(self, seq: int, id: str, mid: int, now_s: float) -> None:
        """`seq` was handed to the connection under packet id `mid`."""
        self.cursor = seq
        self.sent += seq > self._highest
        self.republished += seq <= self._highest
        self._highest = max(self._highest, seq)
        self._flights[mid] = Flight(seq, id, now_s)
        if self._rules.confirm_timeout_s is not None:
            self._ids[id] = seq
            self._deadlines[seq] = now_s + self._rules.confirm_timeout_s

    def answered(self, mid: int, code: int, name: str, now_s: float) -> None:
        """A PUBACK: its reason code and the specification's name for it. Unknown packet ids are ignored."""
        flight = self._flights.pop(mid, None)
        if flight is None:
            return
        if code == NO_MATCHING_SUBSCRIBERS:
            self.no_subscriber += 1
            if self._rules.require_subscriber:
                self._back("nobody subscribes to it, so the broker threw it away", now_s)
                return
        elif code != SUCCESS:
            self.refused += 1
            self._back(f"the broker refuses it: {name} (0x{code:02X})", now_s)
            return
        if self._rules.confirm_timeout_s is None:
            self._deliver(flight.seq)

    def acknowledged(self, id: str) -> None:
        """A subscriber has handled the message with this id. Late and repeated acknowledgements are welcome."""
        seq = self._ids.pop(id, None)
        if seq is not None:
            self._deadlines.pop(seq, None)
            self._deliver(seq)

    def tick(self, now_s: float) -> None:
        """Let the oldest acknowledgement time out."""
        first = next(iter(self._deadlines.values()), None)
        if first is not None and now_s >= first:
            self._back("no subscriber has acknowledged it", now_s)

    def unanswered_s(self, now_s: float) -> float:
        """How long the broker has owed us a PUBACK."""
        first = next(iter(self._flights.values()), None)
        return now_s - first.sent_s if first else 0.0

    def _deliver(self, seq: int) -> None:
        self.done.add(seq)
        if not self._going_back:
            self.trouble = ""
            self._limit = self._rules.window
            self._backoff.reset()

    def _back(self, trouble: str, now_s: float) -> None:
        self.trouble = trouble
        if not self._going_back:  # the rest of a window often fails with its first: one wait for all
            self._hold_until_s = now_s + self._backoff.next()
        self._going_back = True
        self._deadlines.clear()

    def _start_over(self) -> None:
        self._going_back = False
        self._limit = 1
        self.cursor = 0
        self._deadlines.clear()
