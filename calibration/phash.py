"""Perceptual hashes: pictures that look the same have hashes that differ in few bits.

The hash is Zauner's: the picture at 32×32 in grey, its discrete cosine transform, one bit for each of the 8×8 lowest
frequencies, set where it is above their median (C. Zauner, Implementation and Benchmarking of Perceptual Image Hash
Functions, 2010). Size, compression and brightness change it by a few bits, a shift by many. The hash is taken of the
picture's middle, because the dark surround and the recorder's text are alike in pictures that are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE, LOW = 32, 8
MARGIN = 0.1  # of width and height, on every side, that is not looked at
NEAR = 6  # bits of 64 by which two pictures may differ and still be the same one; see calibration/README.md
BLOCK = 4096  # hashes compared at a time: 4096² products of one block are 64 MB


def phash(grey: NDArray[np.uint8]) -> str:
    """The hash of a grey picture (H, W), as 16 hexadecimal digits."""
    h, w = grey.shape
    y, x = int(h * MARGIN), int(w * MARGIN)
    small = cv2.resize(grey[y : h - y, x : w - x], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:LOW, :LOW].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes().hex()


def _signs(hashes: Sequence[str]) -> NDArray[np.float32]:
    """(N, 64) of -1 and 1: the product of two rows is 64 minus twice the bits in which they differ."""
    octets = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), LOW)
    return np.unpackbits(octets, axis=1).astype(np.float32) * 2 - 1


def near_pairs(left: Sequence[str], right: Sequence[str], near: int = NEAR) -> Iterator[tuple[int, int, int]]:
    """(index in left, index in right, bits that differ) of all pairs at most `near` bits apart."""
    if not left or not right:
        return
    rows, columns = _signs(left), _signs(right)
    for top in range(0, len(rows), BLOCK):
        for side in range(0, len(columns), BLOCK):
            bits = (64 - rows[top : top + BLOCK] @ columns[side : side + BLOCK].T) / 2
            for i, j in np.argwhere(bits <= near):
                yield top + int(i), side + int(j), round(float(bits[i, j]))
