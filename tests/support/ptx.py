"""Runs the few PTX instructions that our kernel is made of, a thread at a time, over plain memory: slow, and exact.

The text that ships is what runs, so a wrong register or offset in it fails a test without any GPU. Of types it knows
the width alone: all our arithmetic is unsigned.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.support.fake_cuda import FakeCuda

_WIDTH = {"u32": 2**32, "b32": 2**32, "u64": 2**64}


class Kernel:
    """`.entry NAME` of a PTX text."""

    def __init__(self, text: str, name: str) -> None:
        text = re.sub(r"//.*", "", text)
        found = re.search(rf"\.entry {name}\((.*?)\)\s*\{{(.*?)\n\}}", text, re.DOTALL)
        assert found, f"no entry {name}"
        self.parameters = re.findall(r"\.param \.(\w+) (\w+)", found[1])
        self.sizes = "".join("8" if kind == "u64" else "4" for kind, _ in self.parameters)
        self._lines: list[tuple[str, str, list[str]]] = []  # predicate, operation, operands
        self._labels: dict[str, int] = {}
        for line in re.split(r";|(?<=:)", found[2]):
            line = line.strip()
            if line.endswith(":"):
                self._labels[line[:-1]] = len(self._lines)
            elif line and not line.startswith(".reg"):
                guard, operation, operands = re.fullmatch(r"(?:@(\S+)\s+)?(\S+)\s*(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
                self._lines.append((guard or "", operation, [one.strip() for one in operands.split(",") if one]))

    def run(self, blocks: int, threads: int, values: list[int], memory: Callable[[int], int]) -> None:
        """Every thread of a 1-D grid. `memory`: where the host finds what lies at a device address."""
        named = {name: value for (_, name), value in zip(self.parameters, values, strict=True)}
        for block in range(blocks):
            for thread in range(threads):
                self._thread({"%ctaid.x": block, "%ntid.x": threads, "%tid.x": thread}, named, memory)

    def _thread(self, registers: dict[str, int], named: dict[str, int], memory: Callable[[int], int]) -> None:
        at = 0
        while at < len(self._lines):
            guard, operation, operands = self._lines[at]
            at += 1
            if guard and not registers[guard]:
                continue
            kind = operation.split(".")[0]
            if kind == "ret":
                return
            if kind == "bra":
                at = self._labels[operands[0]]
            elif operation.startswith("ld.param"):
                registers[operands[0]] = named[operands[1].strip("[]")]
            elif kind in ("ld", "st"):
                place = operands[1] if kind == "ld" else operands[0]
                word = ctypes.c_uint32.from_address(memory(registers[place.strip("[]")]))
                if kind == "ld":
                    registers[operands[0]] = word.value
                else:
                    word.value = registers[operands[1]]
            else:
                target, *sources = operands
                given = [registers[one] if one.startswith("%") else int(one) for one in sources]
                registers[target] = _computed(operation, given)


_COMPUTED: dict[str, Callable[..., int]] = {
    "mov": lambda a: a,
    "cvta": lambda a: a,
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "mad": lambda a, b, c: a * b + c,
    "div": lambda a, b: a // b,
    "rem": lambda a, b: a % b,
    "and": lambda a, b: a & b,
    "setp": lambda a, b: int(a >= b),
}


def _computed(operation: str, given: list[int]) -> int:
    kind, *form, width = operation.split(".")
    assert kind != "setp" or form == ["ge"], operation
    assert "hi" not in form, operation
    return _COMPUTED[kind](*given) % (2**64 if "wide" in form else _WIDTH[width])


def teach(cuda: FakeCuda, file: Path, name: str) -> None:
    """Let the fake driver run what the file says when `name` is launched."""
    kernel = Kernel(file.read_text(), name)
    cuda.kernel(name, kernel.sizes, lambda *launch: kernel.run(*launch, memory=cuda.memory))


def teach_blacken(cuda: FakeCuda) -> None:
    """What `blacken.ptx` does, at once for a whole picture: for tests of what is around it."""

    def run(blocks: int, threads: int, values: list[int]) -> None:
        pixels, keep, pitch, width, height = values
        assert blocks * threads >= width * height
        rows = np.frombuffer((ctypes.c_uint8 * (pitch * height)).from_address(cuda.memory(pixels)), np.uint8)
        mask = np.frombuffer((ctypes.c_uint32 * (width * height)).from_address(cuda.memory(keep)), np.uint32)
        picture = rows.reshape(height, pitch)[:, : width * 4].view(np.uint32)
        picture &= mask.reshape(height, width)

    cuda.kernel("blacken", "88444", run)
