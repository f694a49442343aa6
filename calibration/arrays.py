"""NumPy's files, read by many threads.

NumPy parses a file's header as Python, and CPython's parser before 3.11.5 keeps one depth for all threads (its issue
106905): two at once, and now and then one raises SystemError. So one header is read at a time.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_PARSER = threading.Lock()


def one(file: IO[bytes]) -> NDArray[Any]:
    """A .npy's array. Raises ValueError: it is none, or its content is pickled."""
    with _PARSER:
        return np.asarray(np.load(file, allow_pickle=False))


def all_of(path: Path) -> dict[str, NDArray[Any]]:
    """A .npz's arrays by name. Raises ValueError, OSError or BadZipFile."""
    with _PARSER, np.load(path, allow_pickle=False) as kept:
        return dict(kept)
