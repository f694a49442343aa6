"""One file a scenario: a docstring that says what is proven, and `run(twin)`. Optional: `LIMIT_S`, in the guest's time,
after which the machine is taken for hung; `NEEDS_CLIP`: the phantom's clip travels with the checkout."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple, Protocol

from edge.errors import UsageError
from tools.twin.guest.twin import Twin

LIMIT_S = 300.0


class Run(Protocol):
    def __call__(self, twin: Twin) -> None: ...


class Scenario(NamedTuple):
    name: str
    proves: str  # its docstring's first paragraph, on one line
    limit_s: float
    needs_clip: bool
    run: Run


def names() -> list[str]:
    """All of them, in the order in which they are played."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def load(name: str) -> Scenario:
    """UsageError when there is none of that name."""
    if name not in names():
        raise UsageError(f"there is no scenario {name!r}; there are: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    proves = " ".join((module.__doc__ or "").partition("\n\n")[0].split())
    limit_s, needs_clip = getattr(module, "LIMIT_S", LIMIT_S), getattr(module, "NEEDS_CLIP", False)
    return Scenario(name, proves, limit_s, needs_clip, module.run)
