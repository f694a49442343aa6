"""The vendor's own Python bindings of TensorRT, one generation at a time, without TensorRT.

The wheels hold the classes, enums and, in docstrings, the signatures. They link against three libraries, of which the
few functions they look for are stubbed here by gcc. Nothing can be constructed that is made of TensorRT itself, but our
own subclasses (logger, monitor, profiler) can. Each generation lives in a process of its own.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import compiled, wheels

GENERATIONS = {
    "10.3": "tensorrt-cu12-bindings==10.3.*",  # JetPack 6
    "10.16": "tensorrt-cu12-bindings==10.16.*",  # JetPack 7
    "11.4": "tensorrt-cu13-bindings==11.4.*",
}
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    "createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL createNvOnnxParser_INTERNAL "
    "createNvOnnxParserRefitter_INTERNAL getBuilderPluginRegistry getNvOnnxParserVersion getPluginRegistry "
    "initLibNvInferPlugins"
)
DUMP = """
import enum, inspect, json
import tensorrt_bindings as trt

def of_class(cls, depth=0):
    said = {"doc": cls.__init__.__doc__ or "", "members": {}}
    values = getattr(cls, "__members__", {})
    for name in dir(cls):
        if name.startswith("_"):
            continue
        value = inspect.getattr_static(cls, name)
        if name in values:
            said["members"][name] = {"kind": "value", "number": int(values[name])}
        elif isinstance(value, type) and depth < 1:
            said["members"][name] = {"kind": "class", **of_class(value, depth + 1)}
        else:
            kind = "property" if isinstance(value, property) else "method" if callable(getattr(cls, name)) else "value"
            said["members"][name] = {"kind": kind, "doc": getattr(value, "__doc__", "") or ""}
    return said

classes = {name: of_class(value) for name, value in vars(trt).items() if isinstance(value, type)}
print(json.dumps({"version": trt.__version__, "classes": classes}))
"""


class Parameter(NamedTuple):
    name: str
    kinds: frozenset[str]  # the last words of its annotation: "Builder", "int", "SupportsInt"
    required: bool


class Signature(NamedTuple):
    parameters: tuple[Parameter, ...]


class Bindings(NamedTuple):
    version: str
    classes: dict[str, Any]

    def member(self, path: str) -> dict[str, Any] | None:
        """What lies at "Class", "Class.member" or "Class.Nested.member"; None: nothing does."""
        if path == "__version__":
            return {"kind": "value"}
        found: dict[str, Any] | None = {"members": self.classes}
        for piece in path.split("."):
            found = found.get("members", {}).get(piece) if found else None
        return found

    def signatures(self, path: str) -> list[Signature]:
        """The overloads of a method, or of a class's constructor, as its docstring has them; without `self`."""
        member = self.member(path)
        name = "__init__" if "." not in path else path.rsplit(".", 1)[1]
        lines = (member or {}).get("doc", "").splitlines()
        pattern = re.compile(rf"^(?:\d+\. )?{name}\((.*)\) -> .*$")
        return [
            _signature(match[1]) for line in lines if (match := pattern.match(line.strip())) and "*args" not in line
        ]


def _signature(text: str) -> Signature:
    pieces, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            pieces.append(text[start:place])
            start = place + 1
    pieces.append(text[start:])
    parameters = []
    for piece in pieces:
        name, _, rest = piece.strip().partition(":")
        annotation, has_default, _ = rest.partition("=")
        kinds = frozenset(word.strip().rsplit(".", 1)[-1].rsplit("::", 1)[-1] for word in annotation.split("|"))
        parameters.append(Parameter(name.strip(), kinds, not has_default))
    return Signature(tuple(p for p in parameters if p.name not in ("self", "", "/")))


@functools.cache
def environment(generation: str) -> dict[str, str]:
    """What a Python needs to import `tensorrt_bindings` of a generation. Skips the test when it cannot be had."""
    folder = wheels.unpacked(GENERATIONS[generation])
    gcc = compiled.compiler()
    major = generation.split(".")[0]
    stubs = wheels.cache() / f"tensorrt-stubs-{major}"
    if not stubs.is_dir():
        source = "\n".join(f"void *{name}(void) {{ return 0; }}" for name in FUNCTIONS.split())
        with tempfile.TemporaryDirectory(dir=wheels.cache()) as scratch:
            built = Path(scratch) / "stubs"
            built.mkdir()
            for library in LIBRARIES:
                soname = f"lib{library}.so.{major}"
                command = [gcc, "-x", "c", "-", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", str(built / soname)]
                subprocess.run(command, input=source, text=True, check=True, timeout=60)
            wheels.keep(built, stubs)
    here = Path(__file__).parents[2]
    return {**os.environ, "LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": os.pathsep.join([str(folder), str(here)])}


def run(generation: str, program: str) -> str:
    """What a program printed that ran beside these bindings."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(generation),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def bindings(generation: str) -> Bindings:
    said = json.loads(run(generation, DUMP).splitlines()[-1])
    return Bindings(said["version"], said["classes"])
