"""Video hardware and GPU in step: full pictures, read by the GPU the moment they arrive, compared bit by bit.

NVIDIA's own samples wait for nothing between the two. Where that is not enough, a buffer holds rows of an older frame.
"""

from __future__ import annotations

from tools.on_device import Context, Result, failed, frames, passed
from tools.on_device.frames import Tally

TITLE = "the video hardware is done before the GPU reads"
LIMIT_S = 300.0
SIZE, COUNT = (1920, 1080), 600


def run(context: Context) -> Result:
    context.need_jetson("a Jetson's video hardware and NVMM")
    return judge(frames.through_nvmm(SIZE, COUNT), COUNT)


def judge(seen: Tally, count: int) -> Result:
    """One stale or torn frame is one too many: it would be analysed as another moment's picture."""
    figures = dict(seen.kinds)
    if seen.kinds.total() != count:
        return failed(f"{seen.kinds.total()} of {count} frames came", **figures)
    if seen.first_bad:
        out_of_step = seen.kinds["stale"] + seen.kinds["torn"]
        why = f"{out_of_step} frames are out of step" if out_of_step else "the picture itself is wrong"
        return failed(f"{why}; {seen.first_bad}", **figures)
    exactly = "to the bit" if not seen.kinds["rounded"] else f"but for rounding in {seen.kinds['rounded']} frames"
    return passed(f"{count} frames, {exactly}", **figures)
