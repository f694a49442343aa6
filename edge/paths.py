"""Where models and pipelines lie: beside the package in a checkout, in /usr/share/endoedge on a box."""

from __future__ import annotations

from pathlib import Path

_SHARE = Path("/usr/share/endoedge")
_CHECKOUT = Path(__file__).resolve().parent.parent


def data_dir(name: str) -> Path:
    """`name` is "models" or "pipelines"."""
    beside = _CHECKOUT / name
    return beside if beside.is_dir() else _SHARE / name
