"""The files themselves: how fast, how large, how much arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from calibration.encodings import FILE_OF
from calibration.eval.runner import RUNTIME, Runner, milliseconds
from calibration.eval.segmentation import Report
from calibration.gmac import gmac

SPEED_THREADS = (1, 2)
ROUNDS = 60


def speed(folder: Path, encodings: Mapping[str, Runner]) -> dict[str, Report]:
    """Median milliseconds of one picture with 1 and 2 threads, the files in turns; size; multiply-accumulates."""
    found: dict[str, Report] = {
        name: {
            "runtime": RUNTIME[name],
            "megabytes": round((folder / FILE_OF[name]).stat().st_size / 1e6, 3),
            "gmac": round(gmac(onnx.load(str(folder / FILE_OF[name]))), 4),
        }
        for name in encodings
    }
    for threads in SPEED_THREADS:
        taken = milliseconds({name: Runner(folder / FILE_OF[name], threads) for name in encodings}, ROUNDS)
        for name, value in taken.items():
            key = f"{threads}_thread{'s' * (threads > 1)}"
            found[name][f"milliseconds_{key}"] = round(value, 3)
            if "fp32" in taken:
                found[name][f"times_as_fast_as_fp32_{key}"] = round(taken["fp32"] / value, 3)
    return found
