"""NVMM mapped to CUDA: frames of the pool are seen where they lie, each surface brought once, no copy on the host."""

from __future__ import annotations

from tools.on_device import Context, Result, failed, frames, passed
from tools.on_device.frames import Tally

TITLE = "NVMM frames mapped to CUDA"
LIMIT_S = 120.0
SIZE, COUNT = (256, 256), 120  # the model's own size: rows are padded to the pitch there, if anywhere
POOL = 8


def run(context: Context) -> Result:
    context.need_jetson("a Jetson's video hardware and NVMM")
    return judge(frames.through_nvmm(SIZE, COUNT), COUNT)


def judge(seen: Tally, count: int) -> Result:
    """What is wrong with what was seen of `count` frames."""
    figures = {**seen.kinds, "surfaces": len(seen.places), "pitches": sorted(seen.pitches)}
    if seen.kinds.total() != count:
        return failed(f"{seen.kinds.total()} of {count} frames came", **figures)
    if seen.first_bad:
        return failed(seen.first_bad, **figures)
    if not 1 < len(seen.places) <= POOL:
        return failed(f"{len(seen.places)} addresses: a pool of {POOL} was asked for", **figures)
    return passed(f"{count} frames at {len(seen.places)} addresses, none wrong", **figures)
