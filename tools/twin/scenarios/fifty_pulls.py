"""Fifty pulls in a row, each as soon as the box was live again: fifty recoveries, by one process."""

from __future__ import annotations

from tools.twin.guest.twin import Twin

PULLS = 50
LIMIT_S = 1200.0


def run(twin: Twin) -> None:
    twin.start()
    times = sorted(twin.pull_and_plug() for _ in range(PULLS))
    twin.measure("recovered", len(times))
    twin.measure("to live: median, s", times[PULLS // 2])
    twin.measure("to live: worst, s", times[-1])
    twin.measure("called unstable", twin.states().count("unstable"))
    wanted = (state for _ in range(PULLS) for state in ("no_signal", "live"))
    twin.expect_sequence("live", *wanted, but_for=("unstable",))  # as a cable that comes and goes so often may be
