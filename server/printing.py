"""PDFs, made in processes of their own: what takes a second there holds up nobody here, and what is fatal there (a page
maker is a lot of foreign code) is an error here. Finished ones are kept in memory, and only there: they name a patient.

    python -m server.printing     # such a process: a length and MessagePack on standard input, and on standard output
"""

from __future__ import annotations

import contextlib
import queue
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from typing import IO

import msgspec

from edge.errors import EdgeError
from edge.procedure import Record
from edge.types import Struct
from server.errors import ServerError
from server.export.case import Case, ExportError
from server.patient import Patient
from server.report import Report

WITHIN_S = 60.0
KEPT_MOST = 64 << 20  # bytes of finished ones
_LENGTH = struct.Struct(">Q")


class Order(Struct, frozen=True, kw_only=True):
    """A case."""

    record: Record
    report: Report
    frames: dict[str, bytes]
    patient: Patient | None
    institution: str


class Done(Struct, frozen=True, kw_only=True):
    """`refused`: why there is no PDF."""

    pdf: bytes = b""
    refused: str = ""


class Printers:
    """`count` processes, each started when it is first needed and again after it died. Callable from any thread."""

    def __init__(self, count: int = 1) -> None:
        self._idle: queue.LifoQueue[_Printer] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(_Printer())
        self._count, self._lock = count, threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def pdf(self, case: Case) -> bytes:
        """The same bytes for the same case, as long as they are kept. Waits for a process that is free. Raises
        ExportError for a report that cannot be printed, ServerError for a process that died of it."""
        if (known := self._known(case.digest)) is not None:
            return known
        with self._one() as printer:
            if (known := self._known(case.digest)) is not None:  # made while we waited
                return known
            made = printer.made(case)
        with self._lock:
            self._kept[case.digest] = made
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > KEPT_MOST:
                self._kept.popitem(last=False)
        return made

    def warm(self) -> None:
        """Starts one, so that the first PDF need not wait for it."""
        with self._one() as printer:
            printer.start()

    def close(self) -> None:
        for _ in range(self._count):
            self._idle.get().end()

    def _known(self, digest: str) -> bytes | None:
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)

    @contextlib.contextmanager
    def _one(self) -> Iterator[_Printer]:
        printer = self._idle.get()
        try:
            yield printer
        finally:
            self._idle.put(printer)


class _Printer:
    """Used by one thread at a time."""

    _child: subprocess.Popen[bytes] | None = None

    def made(self, case: Case) -> bytes:
        order = Order(
            record=case.record,
            report=case.report,
            frames=dict(case.frames),
            patient=case.patient,
            institution=case.institution,
        )
        try:
            done = msgspec.msgpack.decode(self._asked(msgspec.msgpack.encode(order)), type=Done)
        except (OSError, msgspec.DecodeError) as exc:
            how = self.end()
            raise ServerError(
                f"report of {case.record.procedure}: no PDF, {exc} (the page maker ended with {how})"
            ) from exc
        if done.refused:
            raise ExportError(done.refused)
        return done.pdf

    def end(self) -> int | None:
        """How it ended."""
        child, self._child = self._child, None
        if child is None:
            return None
        assert child.stdin is not None
        assert child.stdout is not None
        child.kill()
        child.wait()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        child.stdout.close()
        return child.returncode

    def start(self) -> subprocess.Popen[bytes]:
        """Harmless when it runs."""
        if self._child is None or self._child.poll() is not None:
            self.end()
            command = [sys.executable, "-m", "server.printing"]
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._child

    def _asked(self, order: bytes) -> bytes:
        child = self.start()
        assert child.stdin is not None
        assert child.stdout is not None
        late = threading.Timer(WITHIN_S, child.kill)  # it may hang while it reads, too
        late.start()
        try:
            child.stdin.write(_LENGTH.pack(len(order)) + order)
            child.stdin.flush()
            (length,) = _LENGTH.unpack(_read(child.stdout, _LENGTH.size))
            return _read(child.stdout, length)
        except OSError as exc:
            if late.finished.is_set():
                raise OSError(f"it took longer than {WITHIN_S:g} s") from exc
            raise
        finally:
            late.cancel()


def _read(pipe: IO[bytes], size: int) -> bytes:
    content = pipe.read(size)
    if len(content) < size:
        raise OSError("it broke off")
    return content


# ------------------------------------------------------------------------------------------- in the process


def main() -> int:
    """Until standard input ends: with whoever started us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from server.export import pdf

    with contextlib.suppress(Exception):  # whatever it is, who orders a PDF is told
        pdf.warm()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(_LENGTH.size):
        (length,) = _LENGTH.unpack(head)
        done = msgspec.msgpack.encode(_done(source.read(length)))
        sink.write(_LENGTH.pack(len(done)) + done)
        sink.flush()
    return 0


def _done(order: bytes) -> Done:
    from server.export.pdf import pdf

    asked = msgspec.msgpack.decode(order, type=Order)
    try:
        return Done(pdf=pdf(Case(asked.record, asked.report, asked.frames, asked.patient, asked.institution)))
    except EdgeError as exc:
        return Done(refused=str(exc))
    except Exception as exc:  # of foreign code, about this report; the next one may be printed
        traceback.print_exc()
        return Done(refused=f"report of {asked.record.procedure}: the page maker failed: {type(exc).__name__}: {exc}")


if __name__ == "__main__":
    raise SystemExit(main())
