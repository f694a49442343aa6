"""Two hundred pulls in a row cost nothing that stays: no memory, no file descriptor, no thread."""

from __future__ import annotations

from statistics import median

from tools.twin.guest import box
from tools.twin.guest.box import Facts
from tools.twin.guest.twin import Twin, expect
from tools.twin.guest.vivid import DEVICE

WARM_UP, PULLS, SAMPLES = 120, 200, 10  # allocators take their last step after some hundred pulls
RSS_SLACK_MIB = 0.5  # page rounding; a leak of one tiny picture a pull would be 3 MiB
LIMIT_S = 1200.0


def run(twin: Twin) -> None:
    twin.start()
    for _ in range(WARM_UP):
        twin.pull_and_plug(quietly=True)
    before = [_one(twin) for _ in range(SAMPLES)]
    for done in range(PULLS - 2 * SAMPLES):
        twin.pull_and_plug(quietly=bool(done % 20))
    after = [_one(twin) for _ in range(SAMPLES)]
    rss_mib, fds, threads = (
        median(values[place] for values in after) - median(values[place] for values in before) for place in range(3)
    )
    twin.measure("RSS growth, MiB", rss_mib)
    twin.measure("fd growth", fds)
    twin.measure("thread growth", threads)
    expect(fds <= 0, f"{fds:g} more file descriptors after {PULLS} pulls")
    expect(threads <= 0, f"{threads:g} more threads after {PULLS} pulls")
    expect(rss_mib <= RSS_SLACK_MIB, f"{rss_mib:.1f} MiB more memory after {PULLS} pulls")


def _one(twin: Twin) -> tuple[float, int, int]:
    """Memory in MiB, descriptors, threads: of one more pull, when its pipeline is gone. While one plays, memory depends
    on how many pictures are on their way: 10 MiB more or less."""
    twin.hdmi.pull()
    twin.wait_for("no_signal", quietly=True)
    core = twin.wait("the pipeline's end", lambda: _without_pipeline(twin))
    twin.hdmi.plug()
    twin.wait_for("live", quietly=True)
    return core.rss_bytes / 2**20, core.fds, core.threads


def _without_pipeline(twin: Twin) -> Facts | None:
    core = twin.core()
    return core if box.times_open(core.pid, DEVICE) == 1 else None  # the one that the box asks the driver with
