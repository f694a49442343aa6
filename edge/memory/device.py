"""Pixels in GPU memory, lent in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class DeviceImage:
    """An RGBA uint8 picture `(height, width, 4)` at device address `pointer`, rows `pitch` bytes apart. Owns nothing.

    Whatever wrote it is done: the interface names no stream to wait for. A reader whose work may still be running when
    the picture is given back says so with `hold`. Owner: the thread that was lent it.
    """

    __slots__ = ("__cuda_array_interface__", "_readers")

    def __init__(self, pointer: int, height: int, width: int, pitch: int) -> None:
        self.__cuda_array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "shape": (height, width, 4),
            "strides": (pitch, 4, 1),
            "data": (pointer, False),
            "stream": None,
        }
        self._readers: list[Callable[[], None]] = []

    def hold(self, wait: Callable[[], None]) -> None:
        """`wait` blocks until a reader is done with the pixels (a stream's `synchronize`); called before that."""
        self._readers.append(wait)

    def settle(self) -> None:
        """Wait for every reader that holds the picture. Raises what their `wait` raises, after all were asked."""
        readers, self._readers = self._readers, []
        failed: Exception | None = None
        for wait in readers:
            try:
                wait()
            except Exception as exc:
                failed = failed or exc
        if failed is not None:
            raise failed
