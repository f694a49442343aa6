"""What a scenario plays on: the cable, the box's services, and what the box says about them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from edge.messages import SignalChanged
from edge.status import CoreStatus
from edge.types import SignalState
from tools.twin.guest import box
from tools.twin.guest.box import CORE, UPLINK, Facts
from tools.twin.guest.vivid import HD, MOVING, Hdmi
from tools.twin.guest.watch import Watch, looked_at_while_not_live, not_live
from tools.twin.words import File, Step, Word

V = TypeVar("V")
WITHIN_S = 60.0  # a deadline ends a wait; what counts are the measured times
START_WITHIN_S = 120.0
Tell = Callable[[Word], None]


class NotHeldError(AssertionError):
    """Something that a scenario asserts did not hold."""


def expect(held: bool, otherwise: str) -> None:
    if not held:
        raise NotHeldError(otherwise)


class Twin:
    """One scenario's view of the machine. Owner: the agent's main thread."""

    def __init__(self, scenario: str, watch: Watch, tell: Tell) -> None:
        self.hdmi = Hdmi()
        self.measured: dict[str, float] = {}
        self.restarts_allowed = 0
        self.units = [CORE, UPLINK, "mosquitto.service"]  # whose journal is evidence
        self._scenario, self._watch, self._tell = scenario, watch, tell
        self._began_s, self._began_at = time.monotonic(), time.time()
        self._first_message, self._first_status = len(watch.messages), len(watch.statuses)
        self._cursor = self._first_message  # messages before it have been waited for

    # ------------------------------------------------------------------------------------- the box

    def start(
        self,
        *,
        plugged: bool = True,
        timings: str = HD,
        picture: Mapping[str, str] = MOVING,
        capture: Mapping[str, Any] = box.CAPTURE,
        infer: Mapping[str, Any] | None = None,
    ) -> None:
        """A fresh driver, then a fresh core. Returns when the core has said its first state (`live` when plugged)."""
        self.hdmi.load(timings=timings, picture=dict(picture), plugged=plugged)
        self.start_core(capture, infer)
        state = SignalState.LIVE if plugged else SignalState.NO_SIGNAL
        self.wait_for(state.value, START_WITHIN_S)

    def start_core(self, capture: Mapping[str, Any], infer: Mapping[str, Any] | None = None) -> None:
        """With the cable as it is."""
        box.write_site(capture, infer)
        self._cursor = len(self._watch.messages)
        for unit in (UPLINK, CORE):
            box.start(unit)

    def core(self) -> Facts:
        return box.facts(box.pid(CORE))

    def kill_core(self) -> tuple[int, int]:
        """SIGKILL. Its pid, and when (CLOCK_MONOTONIC, ns)."""
        self.restarts_allowed += 1
        process, now_ns = box.pid(CORE), time.monotonic_ns()
        os.kill(process, signal.SIGKILL)
        return process, now_ns

    # ------------------------------------------------------------------------------------- the cable

    def pull_and_plug(self, quietly: bool = False) -> float:
        """Out until the box says so, and in again. Seconds from the plug to the picture that is `live`."""
        pulled_ns = self.hdmi.pull()
        self.took("to no_signal, s", pulled_ns, self.wait_for("no_signal", quietly=quietly))
        plugged_ns = self.hdmi.plug()
        return self.took("to live: worst, s", plugged_ns, self.wait_for("live", quietly=quietly))

    def stays(self, until_ns: int) -> None:
        """Nothing more is said of the signal until then (CLOCK_MONOTONIC)."""
        place = len(self._watch.changes())
        with contextlib.suppress(TimeoutError):
            self._watch.wait_for(
                "silence", lambda: self._watch.changes()[place:] or None, (until_ns - time.monotonic_ns()) / 1e9
            )
        said = [change.state.value for change, _ in self._watch.changes()[place:]]
        expect(not said, f"nothing had changed, and the box said {' '.join(said)}")

    # ------------------------------------------------------------------------------------- what it says

    def wait_for(self, state: str, within_s: float = WITHIN_S, *, quietly: bool = False) -> SignalChanged:
        """The next signal event with that state."""
        wanted = SignalState(state)  # a wrong word is a mistake in the scenario
        return self._next(f"signal event {state!r}", lambda event: event.state is wanted, within_s, quietly)

    def wait_for_since(self, state: str, since_ns: int, within_s: float = WITHIN_S) -> SignalChanged:
        """The next of them that is about a picture after that (CLOCK_MONOTONIC)."""
        wanted = SignalState(state)
        return self._next(
            f"signal event {state!r}",
            lambda event: event.state is wanted and event.captured_ns > since_ns,
            within_s,
        )

    def wait_for_loss(self, within_s: float = WITHIN_S) -> SignalChanged:
        """The next signal event that says anything but live."""
        return self._next("the loss of the signal", lambda event: event.state is not SignalState.LIVE, within_s)

    def _next(
        self, what: str, wanted: Callable[[SignalChanged], bool], within_s: float, quietly: bool = False
    ) -> SignalChanged:
        def arrived() -> tuple[int, SignalChanged] | None:
            for place in range(self._cursor, len(self._watch.messages)):
                event = self._watch.messages[place].message.event
                if isinstance(event, SignalChanged) and wanted(event):
                    return place, event
            return None

        place, event = self.wait(what, arrived, within_s)
        self._cursor = place + 1
        if not quietly:
            self.say(f"{event.previous.value} → {event.state.value}" + (f": {event.detail}" if event.detail else ""))
        return event

    def wait_for_status(self, what: str, holds: Callable[[CoreStatus], bool], within_s: float = WITHIN_S) -> CoreStatus:
        """A status, written from now on, of which that holds."""
        now_ns = time.monotonic_ns()

        def found() -> CoreStatus | None:
            last = self._watch.statuses[-1] if self._watch.statuses else None
            return last if last and last.updated_ns >= now_ns and holds(last) else None

        return self.wait(what, found, within_s)

    def wait(self, what: str, found: Callable[[], V | None], within_s: float = WITHIN_S) -> V:
        """The first answer that is not None, asked after each message and status, and every 20 ms."""
        try:
            return self._watch.wait_for(what, found, within_s)
        except TimeoutError as exc:
            last = self._watch.statuses[-1].state.value if self._watch.statuses else "nothing"
            raise NotHeldError(
                f"{exc} (the status says {last}; last events: {' '.join(self.states()[-12:]) or 'none'})"
            ) from exc

    def states(self) -> list[str]:
        """Signal states said in this scenario, in order."""
        return [change.state.value for change, _ in self._watch.changes(self._first_message)]

    def wait_for_frames(self) -> CoreStatus:
        """A status from now on that says live, with frames."""
        return self.wait_for_status(
            "live, with frames", lambda status: status.state is SignalState.LIVE and status.fps > 0
        )

    def sequence_numbers(self) -> list[int]:
        """Of all messages of this scenario, in order of arrival."""
        return [heard.message.seq for heard in self._watch.messages[self._first_message :]]

    # ------------------------------------------------------------------------------------- what a scenario says

    def say(self, text: str) -> None:
        self._tell(Step(scenario=self._scenario, at_s=round(time.monotonic() - self._began_s, 2), text=text))

    def measure(self, name: str, value: float) -> None:
        """For the report. A name measured again keeps its worst (highest) value."""
        self.measured[name] = max(round(value, 3), self.measured.get(name, float("-inf")))

    def took(self, name: str, since_ns: int, event: SignalChanged) -> float:
        """Seconds from what was done to the cable to the picture (or its absence) that the event is about."""
        seconds = (event.captured_ns - since_ns) / 1e9
        self.measure(name, seconds)
        return seconds

    # ------------------------------------------------------------------------------------- checks at the end

    def expect_sequence(self, *wanted: str, but_for: tuple[str, ...] = ()) -> None:
        """All states said since the scenario's start, but for `starting` and those."""
        left_out = {SignalState(state).value for state in ("starting", *but_for)}
        said = [state for state in self.states() if state not in left_out]
        expect(said == list(wanted), f"the box said {' '.join(said)}; expected: {' '.join(wanted)}")

    def check(self) -> None:
        """What must hold in every scenario: called by the agent at its end."""
        statuses = self._watch.statuses[self._first_status :]
        spans = not_live(self._watch.changes(self._first_message), time.monotonic_ns())
        wrong = looked_at_while_not_live(statuses, spans)
        expect(not wrong, f"inference while not live: {'; '.join(wrong)}")
        restarts = int(box.run("systemctl", "show", "-P", "NRestarts", CORE))
        expect(restarts == self.restarts_allowed, f"systemd started the core again {restarts} times")

    def evidence(self) -> Iterator[File]:
        """Everything said and seen, for the results folder."""
        said = [
            {"at_ns": heard.at_ns, **msgspec.to_builtins(heard.message)}
            for heard in self._watch.messages[self._first_message :]
        ]
        seen = [msgspec.to_builtins(status) for status in self._watch.statuses[self._first_status :]]
        for name, rows in (("messages.jsonl", said), ("statuses.jsonl", seen)):
            text = "".join(msgspec.json.encode(row).decode() + "\n" for row in rows)
            yield File(name=f"{self._scenario}/{name}", text=text)
        journal = box.journal(*self.units, since_s=self._began_at)
        yield File(name=f"{self._scenario}/journal.txt", text=journal)
        yield File(name=f"{self._scenario}/core-files.txt", text=box.open_files(box.pid(CORE)))
        yield File(name=f"{self._scenario}/kernel.txt", text=box.run("dmesg")[-20_000:] + "\n")
