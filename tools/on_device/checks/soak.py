"""The whole core on a 1080p60 test pattern for minutes: speed, drops, memory, heat, and that nothing gave way."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge import status
from edge.cli import processes
from edge.status import CoreStatus
from edge.types import SignalState, Struct
from tools.on_device import Context, Result, failed, passed, site

TITLE = "the core under load for minutes"
LIMIT_S = 180.0  # beside the minutes that were asked for
EVERY_S = 1.0
START_WITHIN_S = 60.0
SETTLED = 0.25  # share of the time after which memory may not grow any more
GROWTH = 0.05  # of the memory at that time
DROPPED = 0.01  # share of the frames
COPIES = ("host_copies", "d2h")  # counters of the source that stay 0 where frames stay on the GPU
STANDS = 4  # samples without a new status: the core hangs


class Sample(Struct, frozen=True, kw_only=True):
    """One line of `soak.jsonl`."""

    at_s: float
    rss_bytes: int
    status: CoreStatus


def run(context: Context) -> Result:
    context.need_jetson("a Jetson to heat up")
    return judge(play(context, "tensorrt", context.options.soak_minutes * 60))


def play(
    context: Context, backend: str, seconds: float, size: tuple[int, int] = (1920, 1080), fps: int = 60
) -> list[Sample]:
    """Run the core for so long after its first live second; samples go to `soak.jsonl`, its own words to
    `soak-core.log`. Raises EdgeError when it does not come up."""
    with tempfile.TemporaryDirectory(prefix="endoedge-soak-") as scratch:
        file = site.write(context, Path(scratch), backend, size, fps)
        with processes.running("core", file, context.folder / "soak-core.log") as core:
            begun = time.monotonic()
            samples: list[Sample] = []
            until = begun + START_WITHIN_S
            while time.monotonic() < until and core.poll() is None:
                sample = _look(Path(scratch), core.pid, time.monotonic() - begun)
                live = sample is not None and sample.status.state is SignalState.LIVE and sample.status.fps > 0
                if sample is not None and (samples or live):
                    if not samples:
                        until = time.monotonic() + seconds
                    samples.append(sample)
                time.sleep(EVERY_S)  # the pace of the samples, nothing waits for it
    with (context.folder / "soak.jsonl").open("wb") as lines:
        lines.writelines(msgspec.json.encode(sample) + b"\n" for sample in samples)
    return samples


def _look(folder: Path, pid: int, at_s: float) -> Sample | None:
    said = status.read(folder / "status.json", CoreStatus)
    try:
        rss = status.rss_bytes(pid)
    except OSError:
        return None
    return Sample(at_s=round(at_s, 2), rss_bytes=rss, status=said) if said is not None else None


def judge(samples: Sequence[Sample]) -> Result:
    """What is wrong with how the core went on."""
    if len(samples) < 2:
        return failed("the core did not come up, or ended at once; see soak-core.log")
    first, last = samples[0], samples[-1]
    settled = samples[int(len(samples) * SETTLED)]
    seconds = last.at_s - first.at_s
    frames = last.status.source.frames - first.status.source.frames
    dropped = last.status.source.dropped - first.status.source.dropped
    growth = last.rss_bytes / settled.rss_bytes - 1
    stale = len(samples) > STANDS and len({sample.status.updated_ns for sample in samples[-STANDS:]}) == 1
    efforts = sorted({sample.status.effort for sample in samples})
    held = sorted({part for sample in samples if sample.status.board for part in sample.status.board.throttled})
    counts = msgspec.to_builtins(last.status.source)
    copies = {name: counts[name] for name in COPIES if counts.get(name)}
    faults = sorted({sample.status.fault for sample in samples} - {""})
    states = sorted({sample.status.state.value for sample in samples})
    wrong = {
        "the status file stands still": stale,
        f"states were {', '.join(states)}": states != ["live"],
        f"faults: {'; '.join(faults)}": bool(faults),
        f"the effort fell to {', '.join(effort for effort in efforts if effort != 'full')}": efforts != ["full"],
        f"held back: {', '.join(held)}": bool(held),
        f"{dropped} of {frames + dropped} frames dropped": dropped > DROPPED * (frames + dropped),
        f"memory grew by {growth:.1%} after it had settled": growth > GROWTH,
        f"pictures were copied: {copies}": bool(copies),
    }
    figures: dict[str, Any] = {
        "seconds": round(seconds),
        "frames": frames,
        "dropped": dropped,
        "fps": round(frames / seconds, 2),
    }
    figures |= {f"{name} p99 ms": last.status.stages[name].p99_ms for name in ("capture", "infer")}
    figures |= {"rss MiB": round(last.rss_bytes / 2**20), "rss growth": round(growth, 4), **_heat(samples)}
    text = "; ".join(text for text, so in wrong.items() if so)
    return failed(text, **figures) if text else passed(f"{frames} frames in {seconds:.0f} s, none amiss", **figures)


def _heat(samples: Sequence[Sample]) -> dict[str, object]:
    """The least room and the mean power over the soak, as far as the board says."""
    boards = [sample.status.board for sample in samples if sample.status.board is not None]
    rooms = [nearest for board in boards if (nearest := board.nearest()) is not None]
    found: dict[str, object] = {}
    if rooms:
        zone, room = min(rooms, key=lambda nearest: nearest[1])
        found["least room"] = f"{zone} {room:.1f} C"
    for rail in boards[0].power_w if boards else ():
        watts = [value for board in boards if (value := board.power_w.get(rail)) is not None]
        if watts:
            found[f"{rail} mean W"] = round(float(np.mean(watts)), 2)
    return found
