"""The heads that are trained on a finished model's frozen encoder: one file each, found by its name.

`calibration/heads/NAME.py` has `HEAD = Head(...)`: its labels, which entries of a manifest carry them, and whether what
is learned may be released. Adding a head is adding a file; `endoedge-model add-head` does the rest.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from numpy.random import Generator

from calibration.manifest import Entry
from calibration.pictures import Picture
from edge.errors import UsageError

Kind = Literal["classify", "ordinal", "dense"]
Spoil = Callable[[Generator, Picture, str], Picture]


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Another training picture's content put into this one: a picture of label `into` and a donor of label `of` make
    one of label `of`. `make` takes and gives RGB uint8, None where the two will not mix."""

    into: str
    of: str
    make: Callable[[Generator, Picture, Picture], Picture | None]


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a head says, and what it learns it from.

    `label` is an entry's label, or None where the entry says nothing about the head. A head with `spoil` makes its
    examples: any `usable` picture, RGB uint8, becomes one of each label in turn. `dense` heads have one label, and
    learn a map from the phantom's truth.
    """

    kind: Kind
    labels: tuple[str, ...]
    label: Callable[[Entry], str | None]
    ships: bool  # may it be released at all? If so it is trained on nothing that may not
    hidden: int = 0  # units between features and logits; 0: none, a linear head
    flips: bool = True  # is the mirrored picture as likely?
    usable: Callable[[Picture], bool] = lambda _picture: True
    spoil: Spoil | None = None
    mix: Mix | None = None  # in training alone
    ridge: float = 0.0  # of a linear classifier: times half its squared weights is added to the loss; for few patients
    parts: int | None = None  # of `features`, two a level and the finest first, those it reads; None: all

    @property
    def tap(self) -> str:
        """The tensor of the model that the head reads."""
        return "decoder4" if self.kind == "dense" else "features"

    @property
    def outputs(self) -> int:
        """Channels: one a label, or one a threshold between two."""
        return len(self.labels) - (self.kind == "ordinal")


def names() -> tuple[str, ...]:
    """The heads there are: the files of this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def named(name: str) -> Head:
    """The head of that name, or a UsageError that lists them."""
    if name not in names():
        raise UsageError(f"--head {name}: there are: {', '.join(names())}")
    return cast(Head, importlib.import_module(f"{__name__}.{name}").HEAD)
