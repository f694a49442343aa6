"""The console's loop: one thread that sleeps until the line, a command or a time needs it."""

from __future__ import annotations

import logging
import select
import threading

from edge.clock import Clock
from edge.console.port import Port
from edge.console.shell import TICK_S, Shell

log = logging.getLogger(__name__)

STALL_S = 30.0  # a reader that takes nothing for so long has hung up, whatever the wires say


class Daemon:
    """Owner: the thread that calls `run`."""

    def __init__(self, port: Port, shell: Shell, clock: Clock, stall_s: float = STALL_S) -> None:
        self._port, self._shell, self._clock = port, shell, clock
        self._stall_ns, self._moved_ns = int(stall_s * 1e9), clock.now_ns()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set (seen within TICK_S). Lines come and go meanwhile; nothing of that is an error."""
        try:
            while not stop.is_set():
                self.turn()
        finally:
            self._shell.hang_up("the console stops")
            self._shell.settle()
            self._port.close()

    def turn(self) -> None:
        """Wait for something, at most TICK_S, and do all that it allows."""
        if self._port.open():
            self._shell.hang_up("the line is new")
        fd, waits_for = self._port.fd, self._shell.fd
        reads = [number for number in (fd, waits_for) if number is not None]
        writes = [fd] if fd is not None and self._shell.out else []
        readable, writable, _ = select.select(reads, writes, [], self._timeout_s())
        if fd in readable:
            self._receive()
        self._shell.step(readable=waits_for in readable)
        if fd in writable or not writes:
            self._send()
        self._shell.settle()
        if self._port.dropped():
            self._shell.hang_up("the other end hung up")
        self._look_for_a_stall()

    def _timeout_s(self) -> float:
        """A command that could go on is not held up by the line's coming and going."""
        open_in_s = TICK_S if self._port.fd is not None else self._port.due_s()
        return min(TICK_S, open_in_s, self._shell.due_s())

    def _receive(self) -> None:
        data = self._port.read()
        if data is None:
            self._shell.hang_up("the line is gone")
        else:
            self._shell.feed(data)

    def _send(self) -> None:
        out = self._shell.out
        if not out or self._port.fd is None:
            return
        taken = self._port.write(bytes(out))
        if taken is None:
            self._shell.hang_up("the line is gone")
        elif taken:
            del out[:taken]
            self._moved_ns = self._clock.now_ns()

    def _look_for_a_stall(self) -> None:
        now_ns = self._clock.now_ns()
        if not self._shell.out:
            self._moved_ns = now_ns
        elif now_ns - self._moved_ns >= self._stall_ns:
            self._shell.hang_up("nobody reads")
            self._port.flush()
            self._moved_ns = now_ns
