"""A number as a picture: what is shown on a screen, and read again from what a camera or a capture card makes of it.

Eight by four blocks, black or white: the number's 16 bits, and their complement. A picture that was caught between two
numbers, or is something else altogether, does not fit its complement and is no number.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ACROSS, DOWN, BITS = 8, 4, 16
MOST = 2**BITS
_BLACK, _WHITE = 96, 160  # of 255: what lies between is neither

Pixels = npt.NDArray[np.uint8]


def draw(number: int, size: tuple[int, int]) -> Pixels:
    """`size`: (width, height). Returns (H, W, 4), opaque; black and white are the same in RGBA and BGRA."""
    bits = np.array([number >> place & 1 for place in range(BITS)], np.uint8)
    blocks = np.concatenate([bits, 1 - bits]).reshape(DOWN, ACROSS) * np.uint8(255)
    width, height = size
    rows, columns = np.arange(height) * DOWN // height, np.arange(width) * ACROSS // width
    picture = np.repeat(blocks[rows][:, columns, None], 4, axis=2)
    picture[:, :, 3] = 255
    return picture


def read(picture: Pixels) -> int | None:
    """The number in an (H, W, 4) picture of any size; None when there is none. Each block's middle counts."""
    height, width = picture.shape[:2]
    bits = []
    for row in range(DOWN):
        for column in range(ACROSS):
            top, left = (row + 0.3) * height / DOWN, (column + 0.3) * width / ACROSS
            bottom, right = (row + 0.7) * height / DOWN, (column + 0.7) * width / ACROSS
            level = float(picture[int(top) : int(bottom) + 1, int(left) : int(right) + 1, :3].mean())
            if _BLACK < level < _WHITE:
                return None
            bits.append(level >= _WHITE)
    number, complement = bits[:BITS], bits[BITS:]
    if any(bit == other for bit, other in zip(number, complement, strict=True)):
        return None
    return sum(bit << place for place, bit in enumerate(number))
