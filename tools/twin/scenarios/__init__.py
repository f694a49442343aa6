"""One file a scenario: a docstring that says what is proven, and `run(twin)`. Optional: `LIMIT_S`, in the guest's time,
after which the machine is taken for hung; `NEEDS_CLIP`: the phantom's clip travels with the checkout; `UPDATES`: the
box takes releases, from "http" or a "stick", on a disk that is kept (tools/twin/ota.py), with a `CAMERA` or
without."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple, Protocol

from edge.errors import UsageError
from tools.twin.guest.twin import Twin

LIMIT_S = 300.0
OTA = "ota_"


class Run(Protocol):
    def __call__(self, twin: Twin) -> None: ...


class Scenario(NamedTuple):
    name: str
    proves: str  # its docstring's first paragraph, on one line
    limit_s: float
    needs_clip: bool
    run: Run
    updates: str = ""
    camera: bool = True


def names() -> list[str]:
    """Those that any box can play, in the order in which they are played."""
    return [name for name in every() if not name.startswith(OTA)]


def updating() -> list[str]:
    """Those of a box that updates itself."""
    return [name for name in every() if name.startswith(OTA)]


def every() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def load(name: str) -> Scenario:
    """UsageError when there is none of that name."""
    if name not in every():
        raise UsageError(f"there is no scenario {name!r}; there are: {', '.join(every())}")
    module = importlib.import_module(f"{__name__}.{name}")
    proves = " ".join((module.__doc__ or "").partition("\n\n")[0].split())
    limit_s, needs_clip = getattr(module, "LIMIT_S", LIMIT_S), getattr(module, "NEEDS_CLIP", False)
    updates, camera = getattr(module, "UPDATES", ""), getattr(module, "CAMERA", True)
    return Scenario(name, proves, limit_s, needs_clip, module.run, updates, camera)
