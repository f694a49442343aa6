"""A process of the box on a disk that is harmed: `python -m tools.faults.process SEED FOLDER PART...`.

It does what it is told, on the socket that is its standard input: a line there, a line of JSON back.

    work N                        N steps of each part → {part: what it said was wrong at any time}
    fail POINT ERRNO PROBABILITY  a call of libc fails from now on (libfiu, which has to be loaded already) → {}
    heal                          all calls work again → {}
    settle                        → {part: what is still owed, and why}
    end                           → {}

What the product raises ends it: {DIED: the traceback}.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import random
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from tools.faults import parts
from tools.faults.parts import Part

DIED = "died"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("part", nargs="+", choices=parts.NAMES)
    options = parser.parse_args()
    logging.raiseExceptions = False  # tracebacks hold empty writes, and libfiu divides by their length (SIGFPE)
    with socket.socket(fileno=0) as line:
        try:
            process = Process(options.folder, random.Random(options.seed), options.part)
            line.sendall(b"{}\n")
            while (said := _line(line)) != "end":
                line.sendall(msgspec.json.encode(process.obey(*said.split())) + b"\n")
            process.close()
            line.sendall(b"{}\n")
        except Exception:
            heal()
            line.sendall(msgspec.json.encode({DIED: traceback.format_exc()}) + b"\n")
            raise


def _line(line: socket.socket) -> str:
    """By `recv`, which is never made to fail. "end" when the other side is gone."""
    said = b""
    while not said.endswith(b"\n"):
        if not (piece := line.recv(1)):
            return "end"
        said += piece
    return said.decode().strip()


class Process:
    def __init__(self, folder: Path, dice: random.Random, names: list[str]) -> None:
        self._parts: dict[str, Part] = {name: parts.load(name).open(folder, dice) for name in names}

    def obey(self, word: str, *rest: str) -> dict[str, str]:
        words: dict[str, Callable[..., dict[str, str]]] = {
            "work": self._work,
            "fail": fail,
            "heal": heal,
            "settle": self._settle,
        }
        return words[word](*rest)

    def _work(self, steps: str) -> dict[str, str]:
        said: dict[str, str] = {}
        for _ in range(int(steps)):
            for name, part in self._parts.items():
                part.step()
                said[name] = said.get(name) or part.trouble
        return said

    def _settle(self) -> dict[str, str]:
        return {
            name: part.trouble or "something is still owed" for name, part in self._parts.items() if not part.settle()
        }

    def close(self) -> None:
        for part in self._parts.values():
            part.close()


_failing: list[bytes] = []


def fail(point: str, number: str, probability: str) -> dict[str, str]:
    enable = ctypes.CDLL("libfiu.so.0").fiu_enable_random
    enable.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_float]
    if enable(point.encode(), 1, int(number), 0, float(probability)):
        raise OSError(f"libfiu does not take {point}")
    _failing.append(point.encode())
    return {}


def heal() -> dict[str, str]:
    while _failing:
        ctypes.CDLL("libfiu.so.0").fiu_disable(_failing.pop())
    return {}


if __name__ == "__main__":
    main()
