"""Classes that are decoded in threads, learnt before there are any.

msgspec learns a class when it is decoded first, and not under a lock (0.22): two threads that do so at once read what
is half written, and the process is gone. It was, in a worker that began four drafts at the same moment.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator

import msgspec

from edge.types import Struct

_LATE = (
    "server.words.wording",
    "server.words.ask",
    "server.words.endpoint",
)  # imported by those who need them, in threads


def settle() -> None:
    """Whatever has been imported so far, and what will be. Harmless to call again."""
    for name in _LATE:
        importlib.import_module(name)
    for kind in set(_below(msgspec.Struct)) | set(_below(Struct)):
        with contextlib.suppress(TypeError):  # one with generic or foreign parts, which nobody decodes
            msgspec.json.Decoder(kind)


def _below(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)
