"""The console on a UART: noise does not bring it off its prompt, a machine's frame is answered on the same line, it
tells of a core that is dead, and only a signed token opens the rest."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from edge.console import cbor, smp
from edge.console.editor import FRAME_MARKS
from tools.twin.guest import box, line
from tools.twin.guest.twin import Twin, expect

_CTRL_U = b"\x15"
_ECHO = struct.Struct(">BBHHBB")  # SMP's header: version 2 and "write", flags, length, group, sequence, command


def run(twin: Twin) -> None:
    key = line.make_service_key()
    twin.start()
    unit = box.CONSOLE.format(line.UART.name)
    box.start(unit)
    person, console = line.Person(line.UART_FAR_END), box.pid(unit)
    try:
        person.at_the_prompt()
        said, took_s = person.asks("status")
        expect("signal        live" in said, said)
        twin.measure("status, s", took_s)
        _bear_noise(person)
        _answer_a_machine(person)
        box.stop(box.CORE)
        twin.say(twin.wait("the console tells of the dead core", lambda: _core(person.asks("status")[0])))
        _let_in(person, key)
        expect(box.pid(unit) == console, "the console was started again")
    finally:
        person.close()
        box.stop(unit)
    twin.say(box.run(str(box.COMMAND), "console", "--verify-audit", str(line.STATE / line.UART.name)))


def _core(status: str) -> str | None:
    """What it says of a core that does not live."""
    line = next(line for line in status.splitlines() if line.startswith("core "))
    return line if "STALE" in line else None


def _bear_noise(person: line.Person) -> None:
    person.types(random.Random(1).randbytes(300))
    person.at_the_prompt()
    person.types(b"reboo" + _CTRL_U)
    said, _ = person.asks("help")
    expect("the whole box on one page" in said, said)


def _answer_a_machine(person: line.Person) -> None:
    asked = cbor.dumps({"d": "over the wire"})
    person.types(smp.lines(_ECHO.pack(smp.WRITE | 1 << 3, 0, len(asked), 0, 7, 0) + asked))
    packet = smp.Assembler().take(person.answer(FRAME_MARKS[0]).rstrip(b"\n"))
    expect(packet is not None and cbor.loads(packet[_ECHO.size :]) == {"r": "over the wire"}, f"answered: {packet!r}")


def _let_in(person: line.Person, key: Path) -> None:
    said, _ = person.asks("log 3")
    expect("log in first" in said, f"without a login: {said}")
    said = person.logs_in(key, box.NAME)
    expect("welcome, A. Engineer" in said, said)
    said, _ = person.asks("log 3")
    expect("endoedge" in said and "refused" not in said, said)
