"""ONNX Runtime on the CPU: the desk's backend, and any box's without a GPU.

The session is made before the pipeline plays (making one holds the GIL for a while; running it does not). Input and
outputs are bound to memory: the frame's own buffer goes in, preallocated arrays come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edge.errors import InferenceError
from edge.memory.host import address
from edge.types import Model, TensorSpec

WARM_UP_RUNS = 3
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(int64)": "int64"}


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[infer]` with `backend = "onnx"`."""

    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


def open(config: Config, model: Model) -> OnnxBackend:
    """Raises InferenceError when the file is no ONNX, or its tensors are not those of its manifest."""
    return OnnxBackend(config, model)


class OnnxBackend:
    """See `types.Backend`. Owner: one thread."""

    name = "onnx"
    h2d_copies = device_copies = 0  # frames are read in host memory

    def __init__(self, config: Config, model: Model) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = config.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning workers would take the core that GStreamer decodes on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # ONNX Runtime raises its own classes straight from Exception
            raise InferenceError(f"{model.path}: ONNX Runtime cannot load it: {_first_line(exc)}") from exc
        self.input = model.manifest.input
        self.outputs = tuple(model.manifest.outputs)
        self.host_copies = 0
        self._path = model.path
        self._check_tensors()
        self._binding = self._session.io_binding()
        self._results: dict[str, npt.NDArray[Any]] = {}
        for output in self.outputs:
            array = self._results[output.name] = np.zeros(output.shape, dtype=output.dtype)
            self._binding.bind_output(output.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for _ in range(WARM_UP_RUNS):
            self.infer(np.zeros(self.input.shape[1:], np.uint8))

    def _check_tensors(self) -> None:
        inputs = [_spec(node) for node in self._session.get_inputs()]
        outputs = {node.name: _spec(node) for node in self._session.get_outputs()}
        for wanted, found in [(self.input, inputs[0] if len(inputs) == 1 else None)] + [
            (output, outputs.get(output.name)) for output in self.outputs
        ]:
            if wanted != found:
                raise InferenceError(
                    f"{self._path}: tensor {wanted.name} should be {wanted.dtype} {list(wanted.shape)}, "
                    + (f"the file has {found.name} {found.dtype} {list(found.shape)}" if found else "the file has none")
                )

    def infer(self, image: Any) -> Mapping[str, npt.NDArray[Any]]:
        """See `types.Backend.infer`. An image with padded rows is copied first, and counted."""
        shape = tuple(image.__array_interface__["shape"])
        if shape != self.input.shape[1:]:
            raise InferenceError(f"{self._path}: a frame of {shape} came, {self.input.shape[1:]} was expected")
        pointer = address(image)
        packed = None
        if pointer is None:
            self.host_copies += 1
            packed = np.ascontiguousarray(image)
            pointer = packed.ctypes.data
        self._binding.bind_input(self.input.name, "cpu", 0, np.uint8, self.input.shape, pointer)
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as exc:
            raise InferenceError(f"{self._path}: {_first_line(exc)}") from exc
        return self._results

    def close(self) -> None:
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()


def _spec(node: Any) -> TensorSpec:
    shape = tuple(side if isinstance(side, int) else -1 for side in node.shape)
    return TensorSpec(name=node.name, dtype=_DTYPES.get(node.type, node.type), shape=shape)


def _first_line(exc: Exception) -> str:
    return str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
