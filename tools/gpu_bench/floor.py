"""The time that no implementation of the model can beat on a GPU: bytes against bandwidth, work against its rate."""

from __future__ import annotations

from typing import Any

import onnx

from calibration import gmac
from edge.types import Struct

# Operations a clock of one multiprocessor, dense, in the fastest format that cuDNN takes for FP32 convolutions (TF32 on
# tensor cores from 8.0 on, else FP32), by compute capability. From the rates that NVIDIA's white papers of Turing,
# Ampere, Ada and Hopper name: rate / (multiprocessors * boost clock). A GPU that is not here has no such bound.
OPERATIONS_A_CLOCK = {(7, 5): 128, (8, 0): 1024, (8, 6): 256, (8, 9): 256, (9, 0): 2048}


class Floor(Struct, frozen=True, kw_only=True):
    """`memory_ms`, `compute_ms`: the two bounds; None where the driver or this file says too little."""

    gflop: float  # of one run; a multiply-accumulate is two
    least_bytes: int
    unfused_bytes: int
    memory_ms: float | None
    compute_ms: float | None

    @property
    def ms(self) -> float | None:
        """The higher of the two that are known."""
        return max((bound for bound in (self.memory_ms, self.compute_ms) if bound is not None), default=None)


def of(content: bytes, gpu: dict[str, Any]) -> Floor:
    """`content`: an ONNX file. `gpu`: `children.bare.facts_of`, and the copy bandwidth. Raises ModelError."""
    model = onnx.load_from_string(content)
    gflop = 2 * gmac.gmac(model)
    bytes_moved = gmac.traffic(model)
    a_clock = OPERATIONS_A_CLOCK.get(tuple(gpu["compute_capability"]), 0)
    rate = a_clock * gpu["multiprocessors"] * gpu["clock_hz"]
    bandwidth = gpu["copy_bytes_s"]
    return Floor(
        gflop=gflop,
        least_bytes=bytes_moved.least,
        unfused_bytes=bytes_moved.unfused,
        memory_ms=bytes_moved.least / bandwidth * 1e3 if bandwidth else None,
        compute_ms=gflop * 1e12 / rate if rate else None,
    )
