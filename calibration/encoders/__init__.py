"""Encoders of the student, one file each, found by name.

A file has `open()`, a fresh net, and `load(path)`, the same with the weights that exist for it. A net takes
(N, 3, H, W) floats in -1..1 to five maps at strides 2 to 32, `channels` wide, and consists of a `stem` and `stages`.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import cast

from torch import nn

from edge.errors import ModelError


def names() -> tuple[str, ...]:
    """The encoders there are: the files of this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def open(name: str, weights: Path | None = None) -> nn.Module:
    """The encoder called `name`, with these weights where they are given. Raises ModelError."""
    if name not in names():
        raise ModelError(f"encoder {name!r}: expected one of {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    if weights is None:
        return cast(nn.Module, module.open())
    if not hasattr(module, "load"):
        raise ModelError(f"{weights}: encoder {name} has no given weights: let a distil-encoder stage make them")
    return cast(nn.Module, module.load(weights))
