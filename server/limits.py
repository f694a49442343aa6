"""How often. Token buckets in memory: each process counts for itself, so that a bucket bounds what one
process is asked; what may not be guessed is kept safe elsewhere (the lock of an account, the length of a code).
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from server.errors import RefusedError

KEYS_MOST = 10_000  # the one that was not asked for longest goes first


class TooManyError(RefusedError):
    """429, and how long to wait (s)."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = math.ceil(wait_s)
        super().__init__(f"too many tries: wait {self.wait_s} s", 429, {"Retry-After": str(self.wait_s)})


class Bucket:
    """`burst` at once, then `a_minute`; of each key. Callable from any thread."""

    def __init__(
        self, a_minute: float, burst: int, *, most: int = KEYS_MOST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._most, self._clock = a_minute / 60, burst, most, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted
        self._lock = threading.Lock()

    def take(self, key: str) -> None:
        """Raises TooManyError; then nothing was taken."""
        with self._lock:
            now = self._clock()
            left, at = self._left.get(key, (float(self._burst), now))
            left = min(float(self._burst), left + (now - at) * self._rate)
            if left < 1:
                raise TooManyError((1 - left) / self._rate)
            self._left[key] = (left - 1, now)
            self._left.move_to_end(key)
            if len(self._left) > self._most:
                self._left.popitem(last=False)

    def __len__(self) -> int:
        return len(self._left)


class Limits:
    """The server's. One for each process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.login = Bucket(30, 30, clock=clock)  # of an address: a ward behind one
        self.login_name = Bucket(6, 12, clock=clock)  # of a name, whether or not somebody has it
        self.enrol = Bucket(6, 10, clock=clock)  # of an address
        self.ask = Bucket(10, 10, clock=clock)  # of an account: each may be a call of a language model


def place(address: str) -> str:
    """What counts as one address: of IPv6 the network, for whoever has one address of it has all."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
