"""The main process is killed (SIGKILL) while it streams: systemd starts it again, it is live, and no event was lost."""

from __future__ import annotations

from tools.twin.guest.twin import START_WITHIN_S, Twin, expect


def run(twin: Twin) -> None:
    twin.start()
    killed, killed_ns = twin.kill_core()
    live = twin.wait_for("live", START_WITHIN_S)
    twin.took("to live, s", killed_ns, live)
    expect(twin.core().pid != killed, "the killed process is still there")
    twin.wait_for_frames()
    twin.wait("every message between the first and the last", lambda: _whole(twin.sequence_numbers()) or None)


def _whole(numbers: list[int]) -> bool:
    return sorted(numbers) == list(range(min(numbers), max(numbers) + 1))
