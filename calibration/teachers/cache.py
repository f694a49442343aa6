"""What a teacher said once, kept on disk: a folder of arrays under digests of everything that decides them.

A file is written beside its place and renamed into it, so a kill leaves no half of one under its name, and several
workers may write the same entry. It begins with the sha256 of the rest: one that is damaged all the same counts as
absent.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calibration import arrays

Array = NDArray[Any]

CHECK = hashlib.sha256().digest_size


class Cache:
    """Arrays by name, in subfolders by the name's first two letters. Safe between threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def get(self, key: str) -> Array | None:
        """The array, or None where there is none that can be read whole."""
        try:
            stored = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        check, packed = stored[:CHECK], stored[CHECK:]
        if hashlib.sha256(packed).digest() != check:
            return None
        return arrays.one(io.BytesIO(zlib.decompress(packed)))

    def put(self, key: str, value: Array) -> None:
        """Write an entry, or replace a damaged one."""
        plain = io.BytesIO()
        np.save(plain, value, allow_pickle=False)
        packed = zlib.compress(plain.getvalue(), level=1)
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, fresh = tempfile.mkstemp(".new", key[:8], path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(packed).digest() + packed)
            Path(fresh).replace(path)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise


def digest_of(*parts: str | Array) -> str:
    """sha256, in hexadecimal, of texts and arrays (their type, shape and bytes), in this order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(f"text {len(part)} {part}".encode())
        else:
            digest.update(f"array {part.dtype} {part.shape} ".encode())
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def digest_of_net(net: nn.Module) -> str:
    """sha256, in hexadecimal, of a net's architecture (as torch prints it) and of every weight and statistic."""
    weights = ((name, value.detach().cpu().float().numpy()) for name, value in net.state_dict().items())
    return digest_of(str(net), *(part for pair in weights for part in pair))
