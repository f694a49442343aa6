"""calibration/torch_tensorrt.py against the published signature of each torch-tensorrt that it is for.

The package itself needs CUDA and TensorRT to be imported. Its source does not: the one function that is called is read
out of the wheel, and its signature stands in for it.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import torch_tensorrt  # noqa: E402
from calibration.export import exported  # noqa: E402
from edge.errors import ModelError  # noqa: E402
from tests.support import wheels  # noqa: E402
from tests.support.tiny_net import tiny_student  # noqa: E402

SIDE = 64
VERSIONS = ("2.8", "2.10", "2.14")
FUNCTION = "convert_exported_program_to_serialized_trt_engine"


def published(version: str) -> ast.FunctionDef:
    folder = wheels.unpacked(f"torch-tensorrt=={version}.*")
    source = (folder / "torch_tensorrt" / "dynamo" / "_compiler.py").read_text(encoding="utf-8")
    found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == FUNCTION]
    exports = (folder / "torch_tensorrt" / "dynamo" / "__init__.py").read_text(encoding="utf-8")
    assert FUNCTION in exports  # where we take it from
    return found[0]


def of(said: ast.FunctionDef) -> inspect.Signature:
    """Its signature; what a default is does not matter, that there is one does."""
    kinds = inspect.Parameter
    plain = said.args.args
    required = len(plain) - len(said.args.defaults)
    parameters = [
        kinds(each.arg, kinds.POSITIONAL_OR_KEYWORD, default=kinds.empty if place < required else None)
        for place, each in enumerate(plain)
    ]
    for each, default in zip(said.args.kwonlyargs, said.args.kw_defaults, strict=True):
        parameters.append(kinds(each.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None))
    # **kwargs is left out: an argument that only it would take is one that the version does not know.
    return inspect.Signature(parameters)


def install(monkeypatch: pytest.MonkeyPatch, convert: Callable[..., bytes]) -> None:
    module = ModuleType("torch_tensorrt")
    module.dynamo = SimpleNamespace(**{FUNCTION: convert})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_tensorrt", module)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_call_fits_every_version(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    signature, seen = of(published(version)), {}

    def convert(*arguments: Any, **named: Any) -> bytes:
        seen.update(signature.bind(*arguments, **named).arguments)
        return b"ftrt"

    convert.__signature__ = signature  # type: ignore[attr-defined]
    install(monkeypatch, convert)
    assert torch_tensorrt.engine(tiny_student(), SIDE, "cpu") == b"ftrt"
    assert isinstance(seen["exported_program"], torch.export.ExportedProgram)
    assert [tuple(frame.shape) for frame in seen["arg_inputs"]] == [(1, SIDE, SIDE, 4)]
    names = {key: value for key, value in seen.items() if key.endswith("_names")}
    wanted = {"arg_input_binding_names": ("image",), "output_binding_names": torch_tensorrt.OUTPUTS}
    assert names == (wanted if version == "2.14" else {})
    assert ("use_explicit_typing" in seen) == (version != "2.14")  # from then on always so


def test_what_is_exported_is_the_released_graph_in_halves() -> None:
    import onnxruntime as ort

    student = tiny_student()
    frame = np.random.default_rng(5).integers(0, 256, (1, SIDE, SIDE, 4), np.uint8)
    session = ort.InferenceSession(exported(student, SIDE).SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = dict(zip((node.name for node in session.get_outputs()), session.run(None, {"image": frame}), strict=True))
    program = torch.export.export(torch_tensorrt.FromFrame(student), (torch.from_numpy(frame),))
    with torch.no_grad():
        found = dict(zip(torch_tensorrt.OUTPUTS, program.module()(torch.from_numpy(frame)), strict=True))
    for name, allowed in {"thumbnail": 1e-3, "detail": 1e-3, "polyp": 0.02, "features": 0.02}.items():
        assert found[name].dtype == torch.float32
        assert np.abs(found[name].numpy() - wanted[name]).max() < allowed * max(np.abs(wanted[name]).max(), 1), name


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(ModelError, match=r"cannot be imported .*pip install torch-tensorrt"):
        torch_tensorrt.engine(tiny_student(), SIDE, "cpu")


def test_what_it_says_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(exported_program: Any, **named: Any) -> bytes:
        raise RuntimeError("Conversion of function torch.ops.aten.x not currently supported!")

    install(monkeypatch, convert)
    with pytest.raises(ModelError, match="made no engine: RuntimeError: Conversion of function"):
        torch_tensorrt.engine(tiny_student(), SIDE, "cpu")
