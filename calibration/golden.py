"""Golden vectors of a release: what the int8 file answers to a few pictures, and how far another machine may be off.

The tolerance is measured, not guessed. ONNX Runtime with its optimisations off computes the same Q/DQ graph in float,
operation by operation: the same net rounded another way, as another processor's kernels round it. The other files'
tolerances come from their own distance to the int8 file's answers.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.datasets import phantom
from calibration.export import INPUT
from calibration.session import opened
from edge.types import Golden, Precision, Tolerance

SEED, PHANTOMS = 4711, 3  # a seed that no training or evaluation uses
SHARE = 0.02  # of an output's values may be further off than `near`
ROOM = 2.0  # times what was measured
LEAST = 0.01  # of an output's span: about two of its 255 steps; less is never asked of another machine

Answers = dict[str, NDArray[np.float32]]


def frames(side: int) -> NDArray[np.uint8]:
    """Phantom pictures and a test card, uint8 (N, side, side, 4): no patient's."""
    drawn = [sample.picture for sample in phantom.samples(SEED, PHANTOMS, side)]
    rgb = np.stack([*drawn, card(side)])
    return np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], axis=3)


def card(side: int) -> NDArray[np.uint8]:
    """Many colours and brightnesses, discs and stripes, (side, side, 3). Edges are soft: int8's `detail` ends at 63."""
    across, down = np.meshgrid(*[np.linspace(20, 235, side)] * 2)
    drawn = np.stack([across, down, 255 - (across + down) / 2], axis=2)
    for place in range(1, 5):
        cv2.circle(drawn, (place * side // 5, side // 4), place * side // 40 + 1, (230, 50 * place, 40), thickness=-1)
    drawn = cv2.GaussianBlur(drawn, (0, 0), side / 100)
    drawn[3 * side // 4 :: 2] += 20
    return np.asarray(drawn, np.uint8)


def answers(content: bytes, inputs: NDArray[np.uint8], *, optimised: bool = True) -> Answers:
    """Every output of an ONNX file, by name, one row a frame."""
    session = opened(content, optimised=optimised)
    names, key = [output.name for output in session.get_outputs()], session.get_inputs()[0].name
    rows = [session.run(names, {key: frame[None]}) for frame in inputs]
    return {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(names)}


def tolerance(golden: NDArray[np.float32], other: NDArray[np.float32]) -> Tolerance:
    """Room for what `other` shows, and never less than LEAST of the output's span."""
    off = np.abs(other - golden)
    least = LEAST * float(golden.max() - golden.min())
    near = max(ROOM * float(np.quantile(off, 1 - SHARE / 2)), least)
    most = max(ROOM * float(off.max()), 2 * near)
    return Tolerance(near=_three_digits(near), share=SHARE, most=_three_digits(most))


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def written(files: Mapping[Precision, bytes], inputs: NDArray[np.uint8], path: Path) -> Golden:
    """Write the archive to `path`; the manifest's entry of it. `files` are ONNX files, int8 among them."""
    wanted = answers(files["int8"], inputs)
    arrays: dict[str, Any] = {INPUT: inputs, **wanted}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    path.write_bytes(content.getvalue())
    others = {name: answers(file, inputs, optimised=name != "int8") for name, file in files.items()}
    return Golden(
        path=path.name,
        sha256=hashlib.sha256(content.getvalue()).hexdigest(),
        tolerance={
            output: {name: tolerance(golden, other[output]) for name, other in others.items()}
            for output, golden in wanted.items()
        },
    )
