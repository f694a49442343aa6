"""A line to the broker that is slow, hangs, breaks and swallows bytes: a TCP proxy in our hands.

with Line(broker.port, dice) as line:     # connect to line.port
    with line.weather(Weather(delay_s=0.05)): ...
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

PIECE_BYTES = 512  # at most at once, so that a fault comes in the middle of a packet, too


class Weather(NamedTuple):
    """`cut`, `swallow`: how probable it is that a piece breaks its connection, or loses its end on the way."""

    delay_s: float = 0.0
    cut: float = 0.0
    swallow: float = 0.0
    stands_still: bool = False  # connections stay, nothing passes


FAIR = Weather()


class Line:
    """Threads of its own; `weather` belongs to the test's."""

    def __init__(self, to_port: int, dice: random.Random) -> None:
        self._to = ("127.0.0.1", to_port)
        self._seeds = random.Random(dice.random())
        self._weather = FAIR
        self._over = threading.Event()
        self._ends: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, name="line")]
        self._threads[0].start()

    @contextlib.contextmanager
    def weather(self, weather: Weather) -> Iterator[None]:
        self._weather = weather
        try:
            yield
        finally:
            self._weather = FAIR

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):  # the listener is closed, or the broker is away
                near, _ = self._listener.accept()
                self._carry(near)

    def _carry(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._to, timeout=5)
        except OSError:
            near.close()
            raise
        far.settimeout(None)
        self._ends |= {near, far}
        for source, sink in ((near, far), (far, near)):
            dice = random.Random(self._seeds.random())
            self._threads.append(threading.Thread(target=self._pump, args=(source, sink, dice), name="line"))
            self._threads[-1].start()

    def _pump(self, source: socket.socket, sink: socket.socket, dice: random.Random) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                weather = self._weather
                time.sleep(weather.delay_s)
                while self._weather.stands_still and not self._over.wait(0.05):
                    pass
                if dice.random() < weather.cut:
                    break
                if dice.random() < weather.swallow:
                    piece = piece[: dice.randrange(len(piece))]
                sink.sendall(piece)
        for end in (source, sink):
            self._break(end)

    def _break(self, end: socket.socket) -> None:
        """With a reset, as a line breaks; the other direction's thread notices."""
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._threads[0].join()
        for end in self._ends:
            self._break(end)
        for thread in self._threads:
            thread.join()
        for end in (*self._ends, self._listener):
            end.close()
