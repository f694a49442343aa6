"""What takes long (looking, fetching, writing a slot) is done in a thread; the loop that watches it never waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from edge.errors import UpdateError

T = TypeVar("T")


class Job(Generic[T]):
    """Begun when it is made. `told` may be read while it goes on: percent, and words for people."""

    def __init__(self, name: str, action: Callable[[Job[T]], T]) -> None:
        self.name = name
        self.told: tuple[int, str] = (0, "")
        self.stop = False  # asked for; an action looks at it where it can
        self._action, self._result, self._error = action, None, None
        self._done = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def tell(self, percent: int, words: str) -> None:
        self.told = percent, words

    def result(self) -> T:
        """Once it is done. Raises UpdateError, or whatever it broke with."""
        assert self.done
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def wait(self, seconds: float) -> None:
        self._done.wait(seconds)

    def _run(self) -> None:
        try:
            self._result = self._action(self)  # type: ignore[assignment]
        except BaseException as exc:
            self._error = exc if isinstance(exc, UpdateError) else _unexpected(self.name, exc)  # type: ignore[assignment]
        finally:
            self._done.set()


def _unexpected(name: str, exc: BaseException) -> UpdateError:
    error = UpdateError(f"{name}: {type(exc).__name__}: {exc}")
    error.__cause__ = exc
    return error
