"""ONNX Runtime with a GPU, for tests: the real one on the CPU, fed from what lies at device addresses.

Bindings and sessions have the real ones' methods (a test holds their signatures together). Work is done when the
caller's stream has done what was put there before, as the vendor's providers do on a stream that they are given.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edge.infer import onnx
from edge.memory import gpu
from tests.support.fake_cuda import FakeCuda

RealSession = ort.InferenceSession


class Binding:
    def __init__(self) -> None:
        self.inputs: dict[str, tuple[str, int, tuple[int, ...], int]] = {}
        self.outputs: dict[str, tuple[Any, tuple[int, ...], int]] = {}

    def bind_input(self, name: str, device_type: str, device_id: int, element_type: Any, shape: Any, buffer_ptr: int) -> None:  # fmt: skip  # noqa: E501
        assert np.dtype(element_type) == np.uint8
        self.inputs[name] = (device_type, device_id, tuple(shape), buffer_ptr)

    def bind_output(self, name: str, device_type: str = "cpu", device_id: int = 0, element_type: Any = None, shape: Any = None, buffer_ptr: int | None = None) -> None:  # fmt: skip  # noqa: E501
        assert device_type == "cuda"
        assert buffer_ptr
        self.outputs[name] = (element_type, tuple(shape), buffer_ptr)

    def clear_binding_inputs(self) -> None:
        self.inputs.clear()

    def clear_binding_outputs(self) -> None:
        self.outputs.clear()


class Session:
    cuda: FakeCuda
    missing_libraries = False  # then the real one runs on the CPU, and warns on its standard error
    fault = ""
    refuses_graphs = False  # as where a layer is not the GPU's
    graphs: dict[str, tuple[object, ...]]  # number → addresses that it was recorded with

    def __init__(self, path_or_bytes: bytes, sess_options: Any = None, providers: Any = None) -> None:
        made = {name: value for entry in providers if not isinstance(entry, str) for name, value in entry[1].items()}
        if self.refuses_graphs and "enable_cuda_graph" in made:
            raise RuntimeError("This session cannot use the graph capture feature")
        self._cpu = RealSession(path_or_bytes, sess_options, providers=["CPUExecutionProvider"])
        self.providers = [entry if isinstance(entry, str) else entry[0] for entry in providers]
        self.options = {entry[0]: entry[1] for entry in providers if not isinstance(entry, str)}
        self.fallback = True
        self.graphs = {}

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"] if self.missing_libraries else self.providers

    def disable_fallback(self) -> None:
        self.fallback = False

    def get_inputs(self) -> Any:
        return self._cpu.get_inputs()

    def get_outputs(self) -> Any:
        return self._cpu.get_outputs()

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, iobinding: Binding, run_options: Any = None) -> None:
        if self.fault:
            raise RuntimeError(self.fault)
        gpu.call("cuStreamSynchronize", int(self.options[self.providers[0]]["user_compute_stream"]))
        if self.options[self.providers[0]].get("enable_cuda_graph") == "1":
            self._record(iobinding, run_options)
        feeds = {}
        for name, (device, _, shape, pointer) in iobinding.inputs.items():
            assert device == "cuda"
            memory = (ctypes.c_ubyte * int(np.prod(shape))).from_address(self.cuda.memory(pointer))
            feeds[name] = np.frombuffer(memory, np.uint8).reshape(shape).copy()
        for node, value in zip(self.get_outputs(), self._cpu.run(None, feeds), strict=True):
            _, _, pointer = iobinding.outputs[node.name]
            ctypes.memmove(self.cuda.memory(pointer), np.ascontiguousarray(value).ctypes.data, value.nbytes)

    def _record(self, binding: Binding, run_options: Any) -> None:
        """A replay reads and writes where it was recorded, whatever is bound now."""
        number = run_options.get_run_config_entry("gpu_graph_id")
        assert number != "0"  # the runtime's own
        if number != "-1":
            places = *(place[3] for place in binding.inputs.values()), *(out[2] for out in binding.outputs.values())
            assert self.graphs.setdefault(number, places) == places


def install(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> type[Session]:
    """An ONNX Runtime with both GPU providers, for one test."""
    made = type("MadeSession", (Session,), {"cuda": cuda})
    monkeypatch.setattr(onnx.ort, "InferenceSession", made)
    monkeypatch.setattr(onnx.ort, "get_available_providers", lambda: [*onnx.GPU.values(), onnx.CPU])
    return made
