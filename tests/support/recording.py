"""Which members of the fake TensorRT our code touches, and with what: recorded while it runs."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.support import fake_tensorrt


class Touch(NamedTuple):
    """One use. `arguments`: parameter name of the fake, and the names of the value's types, nearest first."""

    path: str  # "Class.member", or "Class" for its constructor
    kind: str  # "call", "get" or "set"
    arguments: tuple[tuple[str, tuple[str, ...]], ...] = ()


def of_ours(depth: int = 2) -> bool:
    """Is the caller's caller code of the appliance?"""
    return str(sys._getframe(depth).f_globals.get("__name__", "")).startswith("edge.")


def record(monkeypatch: pytest.MonkeyPatch) -> set[Touch]:
    """Every use of the fake by `edge` from now on, for one test."""
    touched: set[Touch] = set()
    for name, cls in fake_tensorrt.public():
        if issubclass(cls, fake_tensorrt.enum.Enum):
            continue  # those are found in the source
        for member, value in list(vars(cls).items()):
            if inspect.isfunction(value) and (member == "__init__" or not member.startswith("_")):
                path = name if member == "__init__" else f"{name}.{member}"
                monkeypatch.setattr(cls, member, _recorded(path, value, touched))
            elif isinstance(value, property):
                monkeypatch.setattr(cls, member, property(_recorded(f"{name}.{member}", value.fget, touched, "get")))
        monkeypatch.setattr(cls, "__setattr__", _setting(name, cls.__setattr__, touched), raising=False)
    return touched


def _recorded(path: str, function: Any, touched: set[Touch], kind: str = "call") -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        if of_ours():
            bound = signature.bind(*arguments, **named).arguments
            given = {key: value for key, value in bound.items() if key != "self"}
            types = tuple((key, _types(value)) for key, value in given.items())
            touched.add(Touch(path, kind, types))
        return function(*arguments, **named)

    return called


def _setting(name: str, plain: Any, touched: set[Touch]) -> Callable[[Any, str, Any], None]:
    def assigned(self: Any, member: str, value: Any) -> None:
        if of_ours() and member in dir(type(self)) and not member.startswith("_"):
            touched.add(Touch(f"{name}.{member}", "set"))
        plain(self, member, value)

    return assigned


def _types(value: Any) -> tuple[str, ...]:
    return tuple(cls.__name__ for cls in type(value).__mro__)
