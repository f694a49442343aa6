"""How far every activation reaches on real pictures, and where to cut it: one calibration for all encodings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnxruntime import InferenceSession

from calibration.session import opened

LEVELS = 127  # steps on either side of zero on the symmetric 8-bit grid
BINS = 2048
STRIDE = 3  # every third value is plenty: a picture has millions

Histogram = NDArray[np.float64]  # counts of |x| in BINS equal bins up to the largest seen
Frame = NDArray[np.uint8]  # (1, S, S, 4) RGBA


def steps_of(reaches: NDArray[np.floating]) -> NDArray[np.float32]:
    """The grid's step for each reach: the least float16 number with which LEVELS steps cover it, as float32."""
    wanted = np.asarray(reaches, np.float32) / LEVELS
    half = wanted.astype(np.float16)
    return np.where(half < wanted, np.nextafter(half, np.float16(np.inf)), half).astype(np.float32)


def step(reach: float) -> np.float32:
    """`steps_of` of one reach."""
    return np.float32(steps_of(np.array(reach)))


def observed(model: onnx.ModelProto, tensors: Sequence[str], threads: int = 2) -> InferenceSession:
    """A session that hands out the named inner tensors."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    return opened(shown, threads)


def histograms(
    model: onnx.ModelProto, tensors: Sequence[str], frames: Iterable[Frame]
) -> dict[str, tuple[Histogram, float]]:
    """For each tensor the counts of |x| and the largest |x|. The frames are walked twice."""
    session = observed(model, tensors)
    pictures = list(frames)
    largest = dict.fromkeys(tensors, 0.0)
    for frame in pictures:
        for name, value in zip(tensors, session.run(None, {"image": frame}), strict=True):
            largest[name] = max(largest[name], float(np.abs(value).max()))
    counts = {name: np.zeros(BINS) for name in tensors}
    for frame in pictures:
        for name, value in zip(tensors, session.run(None, {"image": frame}), strict=True):
            bins = np.abs(value).ravel()[::STRIDE] * (BINS / max(largest[name], 1e-9))
            counts[name] += np.bincount(np.minimum(bins, BINS - 1).astype(np.int64), minlength=BINS)
    return {name: (counts[name], max(largest[name], 1e-6)) for name in tensors}


def channel_means(
    model: onnx.ModelProto, tensors: Sequence[str], frames: Sequence[Frame]
) -> dict[str, NDArray[np.float64]]:
    """Mean of each channel (C,) of tensors (1, C, h, w), over frames and pixels."""
    session = observed(model, tensors)
    sums = [np.zeros(()) for _ in tensors]
    for frame in frames:
        values = session.run(None, {"image": frame})
        sums = [total + value.mean((0, 2, 3), dtype=np.float64) for total, value in zip(sums, values, strict=True)]
    return {name: total / len(frames) for name, total in zip(tensors, sums, strict=True)}


def min_max(_counts: Histogram, largest: float) -> float:
    """Everything seen fits: outliers decide the step."""
    return largest


def percentile(counts: Histogram, largest: float, share: float = 0.9999) -> float:
    """All but one value in ten thousand fits."""
    reached = np.searchsorted(np.cumsum(counts), share * counts.sum()) + 1
    return largest * min(int(reached), BINS) / BINS


def least_error(counts: Histogram, largest: float) -> float:
    """The cut whose rounding and clipping errors together are least, in mean square."""
    centres = (np.arange(BINS) + 0.5) * (largest / BINS)
    cuts = largest * np.arange(BINS // 16, BINS + 1, BINS // 128) / BINS

    def error(cut: float) -> float:
        step = cut / LEVELS
        rounded = np.minimum(np.round(centres / step), LEVELS) * step
        return float((counts * (centres - rounded) ** 2).sum())

    return float(min(cuts, key=error))


def entropy(counts: Histogram, largest: float) -> float:
    """The cut that loses least information: least Kullback-Leibler divergence of the values from their rounded selves.

    Szymon Migacz, "8-bit inference with TensorRT" (2017): values beyond the cut are counted as clipped to it, each of
    the grid's levels spreads its count evenly over the bins it covers that were not empty. A rectifier's zeros are
    exact on any grid, so the first bin counts no more than its neighbour.
    """
    counts = np.concatenate([counts[1:2], counts[1:]])
    cuts = range(LEVELS + 1, BINS + 1, BINS // 256)
    return largest * min(cuts, key=lambda bins: _divergence(counts, bins)) / BINS


def _divergence(counts: Histogram, bins: int) -> float:
    """Divergence of `counts`, clipped to the first `bins`, from what the grid's levels tell of them."""
    inside, clipped = counts[:bins], counts[:bins].copy()
    clipped[-1] += counts[bins:].sum()
    level = np.minimum(np.arange(bins) * (LEVELS + 1) // bins, LEVELS)
    held, covered = np.bincount(level, inside), np.bincount(level, inside > 0)
    told = np.where(inside > 0, (held / np.maximum(covered, 1))[level], 0.0)
    wanted, told = clipped / max(clipped.sum(), 1.0), told / max(told.sum(), 1.0)
    full = wanted > 0
    return float((wanted[full] * np.log(wanted[full] / np.maximum(told[full], 1e-12))).sum())


METHODS: dict[str, Callable[[Histogram, float], float]] = {
    "min-max": min_max,
    "percentile": percentile,
    "entropy": entropy,
    "mse": least_error,
}
