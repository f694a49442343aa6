"""Our TensorRT code, and the fake that its tests run on, against the vendor's bindings of each generation.

What our code touches is not listed by hand: names come from its source, methods and arguments from a recorded run.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

from edge import model
from edge.errors import InferenceError
from edge.infer import tensorrt, trt_build
from tests.support import fake_tensorrt, models, recording, trt_bindings
from tests.support.fake_cuda import FakeCuda
from tests.support.recording import Touch
from tests.support.trt_bindings import Bindings, Parameter, Signature

SOURCES = [Path(str(module.__file__)) for module in (tensorrt, trt_build)]
# What pybind11 takes for a Python value, by the value's own type.
TAKEN_AS = {"int": {"int", "SupportsInt"}, "bool": {"bool"}, "str": {"str"}, "bytes": {"buffer", "Buffer"}}


@pytest.fixture(params=list(trt_bindings.GENERATIONS))
def real(request: pytest.FixtureRequest) -> Bindings:
    found = trt_bindings.bindings(request.param)
    assert found.version.startswith(f"{request.param}.")
    return found


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda, tmp_path: Path) -> set[Touch]:
    """Everything our code does with TensorRT: building, loading, running, inspecting, and being refused."""
    fake = fake_tensorrt.install(monkeypatch, cuda)
    found = recording.record(monkeypatch)
    loaded = model.load(models.build(tmp_path / "model"), "fp32")
    config = tensorrt.Config(cache_dir=str(tmp_path / "engines"))
    device = tensorrt.open_device(config)
    store, key = tensorrt.store(config), tensorrt.key(device, loaded)
    store.require_room(1 << 20)
    for _ in range(2):  # the second time with the first one's timings, which are refused
        built = tensorrt.build(config, loaded, store.timing_cache(key), lambda step: True)
        store.put_timing_cache(key, built.timing_cache)
        fake.faults.timing_mismatch = True
    with pytest.raises(InferenceError, match="cannot read it"):
        tensorrt.build(config, unreadable(loaded), b"", lambda step: True)
    store.put(key, built.plan, build_s=built.seconds, golden_sha256=loaded.manifest.golden.sha256)
    device.close()
    backend = tensorrt.open(config, loaded)
    for _ in range(3):
        backend.infer(np.zeros((models.SIZE, models.SIZE, 4), np.uint8))
    backend.layers()
    backend.layer_times(np.zeros((models.SIZE, models.SIZE, 4), np.uint8), runs=1)
    backend.close()
    return found


def unreadable(loaded: model.Model) -> model.Model:
    return model.Model(**{name: getattr(loaded, name) for name in loaded.__struct_fields__} | {"content": b"\x08\x08x"})


def names_in_source() -> set[str]:
    """Everything of TensorRT that the source names: "Builder", "MemoryPoolType.WORKSPACE", "__version__"."""
    found = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and (path := _path(node)):
                found.add(path.removesuffix(".__init__"))
    return found


def _path(node: ast.expr) -> str | None:
    """ "A.B" of `trt.A.B`, `self._trt.A.B` or `load().A.B`."""
    pieces: list[str] = []
    while isinstance(node, ast.Attribute):
        pieces.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load":
        return ".".join(pieces)
    if isinstance(node, ast.Name) and node.id == "self" and pieces[0] == "_trt":
        return ".".join(pieces[1:]) or None
    return ".".join(pieces) if isinstance(node, ast.Name) and node.id == "trt" else None


def callbacks() -> dict[str, dict[str, list[str]]]:
    """Methods of our subclasses and the names of their parameters, by TensorRT's base: {"ILogger": {"log": ...}}."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for base in filter(None, map(_path, node.bases)) if isinstance(node, ast.ClassDef) else ():
                methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]  # type: ignore[attr-defined]
                found[base] = {method.name: [argument.arg for argument in method.args.args[1:]] for method in methods}
    return found


def fits(types: tuple[str, ...], parameter: Parameter) -> bool:
    return any(parameter.kinds & (TAKEN_AS.get(name, set()) | {name}) for name in types)


def accepts(signature: Signature, touch: Touch) -> bool:
    """May it be called so? Our code passes everything by position."""
    given, wanted = touch.arguments, signature.parameters
    if len(given) > len(wanted) or any(parameter.required for parameter in wanted[len(given) :]):
        return False
    return all(fits(types, parameter) for (_, types), parameter in zip(given, wanted, strict=False))


def test_every_name_in_the_source_exists(real: Bindings) -> None:
    names = names_in_source()
    assert {"Builder", "Runtime", "OnnxParser", "MemoryPoolType.WORKSPACE", "__version__"} <= names  # it does find them
    assert [name for name in sorted(names) if real.member(name) is None] == []


def test_every_call_fits(real: Bindings, touched: set[Touch]) -> None:
    calls = {touch for touch in touched if touch.kind == "call"}
    assert {"Builder", "IExecutionContext.execute_async_v3"} <= {touch.path for touch in calls}
    wrong = []
    for touch in sorted(calls):
        signatures = real.signatures(touch.path)
        if not any(accepts(signature, touch) for signature in signatures):
            wrong.append((touch, signatures))
    assert wrong == []


def test_every_property_exists(real: Bindings, touched: set[Touch]) -> None:
    used = sorted({touch.path for touch in touched if touch.kind in ("get", "set")})
    assert {"ICudaEngine.num_io_tensors", "IBuilderConfig.progress_monitor", "IExecutionContext.profiler"} <= set(used)
    assert [path for path in used if (real.member(path) or {}).get("kind") != "property"] == []


def test_every_callback_is_one(real: Bindings) -> None:
    """TensorRT calls each by its name, with these parameters; one that it does not know would never be called."""
    found = callbacks()
    assert {"ILogger", "IProgressMonitor", "IProfiler"} <= set(found)
    for base, ours in found.items():
        theirs = {name for name, said in real.classes[base]["members"].items() if said["kind"] == "method"}
        assert theirs <= set(ours), base
        for name in theirs:
            wanted = [[parameter.name for parameter in s.parameters] for s in real.signatures(f"{base}.{name}")]
            assert ours[name] in wanted, f"{base}.{name}: ours has {ours[name]}, TensorRT's {wanted}"


def test_the_run_saw_every_method_that_the_source_calls(real: Bindings, touched: set[Touch]) -> None:
    """Or a call would be held against nothing."""
    called = {
        node.func.attr
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    methods = {m for cls in real.classes.values() for m, said in cls["members"].items() if said["kind"] == "method"}
    python = {name for kind in (str, bytes, list, dict, Path) for name in dir(kind)}
    seen = {touch.path.rsplit(".", 1)[-1] for touch in touched}
    assert sorted((called & methods) - python - seen) == []


def begins(ours: list[str], theirs: tuple[Parameter, ...]) -> bool:
    """The fake may leave out what has a default."""
    names = [parameter.name for parameter in theirs]
    return names[: len(ours)] == ours and not any(parameter.required for parameter in theirs[len(ours) :])


def test_the_fake_has_nothing_that_tensorrt_has_not(real: Bindings) -> None:
    for name, cls in fake_tensorrt.public():
        assert real.member(name) is not None, name
        for member, value in vars(cls).items():
            if member.startswith("_"):
                continue
            path = f"{name}.{member}"
            assert real.member(path) is not None, path
            if inspect.isfunction(value):
                ours = list(inspect.signature(value).parameters)[1:]
                theirs = [signature.parameters for signature in real.signatures(path)]
                assert any(begins(ours, parameters) for parameters in theirs), f"{path}: {ours}, TensorRT has {theirs}"


def test_the_fake_numbers_flags_as_each_generation_does(
    real: Bindings, monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda
) -> None:
    import sys

    numbers = [int(piece) for piece in real.version.split(".")]
    fake_tensorrt.install(monkeypatch, cuda, (*numbers, 0)[:4])  # type: ignore[arg-type]
    ours = int(sys.modules["tensorrt"].NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    member = real.member("NetworkDefinitionCreationFlag.STRONGLY_TYPED")
    assert member is not None
    assert ours == member["number"]


OVER_THE_REAL_ONES = """
import sys, tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
from edge.errors import InferenceError
from edge.infer import tensorrt, trt_build
from edge.infer.trt_build import Progress
assert tensorrt.load() is trt
told = []
monitor = trt_build.new_monitor(trt, lambda step: told.append(step) is None)
monitor.phase_start("a", None, 3); monitor.phase_start("b", "a", 9)
assert monitor.step_complete("a", 0) and monitor.step_complete("b", 0)
monitor.phase_finish("b"); monitor.phase_finish("a")
assert told == [Progress("a", 0, 3), Progress("a", 1, 3), Progress("a", 3, 3)], told
log = trt_build.new_log(trt)
log.log(trt.ILogger.Severity.WARNING, "soft"); log.log(trt.ILogger.Severity.ERROR, "hard ")
assert log.take() == "hard", "errors alone"
profile = trt_build.new_profile(trt)
profile.report_layer_time("x", 0.5); profile.report_layer_time("x", 0.25)
assert profile.times == {"x": 0.75}
assert 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) in (1, 2)
try: trt_build.build(trt, None, 1 << 20, b"", lambda step: True)
except InferenceError as exc: print(exc)
"""


@pytest.mark.parametrize("generation", list(trt_bindings.GENERATIONS))
def test_our_subclasses_live_on_the_real_bases(generation: str) -> None:
    """And where TensorRT gives a null pointer (here its libraries are stubs), the error is ours."""
    said = trt_bindings.run(generation, OVER_THE_REAL_ONES)
    assert said == "TensorRT cannot start a build here: TensorRT said nothing\n"
