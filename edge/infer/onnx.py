"""ONNX Runtime: on the CPU the desk's backend and any box's without a GPU; on a GPU the fallback for one that has no
TensorRT of ours (`provider`).

The session is made before the pipeline plays (making one holds the GIL for a while; running it does not). Input and
outputs are bound to memory: the frame's own buffer goes in, preallocated arrays come out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edge.errors import GpuError, InferenceError
from edge.infer.placing import Placing
from edge.memory import gpu
from edge.memory.host import address
from edge.types import DEVICE, HOST, Copies, Memory, Model, Precision, TensorSpec

log = logging.getLogger(__name__)

WARM_UP_RUNS = 3
GRAPHS = 16  # the capture's pool has 8 buffers; twice that, and it was rebuilt in between
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(int64)": "int64"}


CPU = "CPUExecutionProvider"
GPU = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
# The file that each runs best: CUDA's kernels have no 8-bit convolutions, TensorRT wants zero points of 0.
FILES: dict[str, Precision] = {"cpu": "int8", "cuda": "fp32", "tensorrt": "int8_trt"}


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[infer]` with `backend = "onnx"`. `device` and `cache_dir` (engines that ONNX Runtime makes) are for GPUs."""

    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    device: Annotated[int, msgspec.Meta(ge=0, le=63)] = 0
    cache_dir: str = "/var/lib/endoedge/engines"
    cuda_graph: bool = False  # with provider = "cuda": the model's work is recorded and replayed; see `_Graphs`


def precision(config: Config) -> Precision:
    """Which of a model's files it runs."""
    return FILES[config.provider]


def open(config: Config, model: Model) -> OnnxBackend:
    """Raises InferenceError when the file is no ONNX, its tensors are not those of its manifest, or no GPU is there."""
    if config.cuda_graph and config.provider != "cuda":
        raise InferenceError(f'infer.cuda_graph needs infer.provider = "cuda", it is {config.provider!r}')
    return OnnxBackend(config, model) if config.provider == "cpu" else OnnxGpuBackend(config, model)


def reads(config: Config) -> tuple[Memory, ...]:
    """See `types.Backend`."""
    return HOST if config.provider == "cpu" else DEVICE


class OnnxBackend:
    """See `types.Backend`. Owner: one thread."""

    name = "onnx"

    def __init__(self, config: Config, model: Model) -> None:
        self.input = model.manifest.input
        self.outputs = tuple(model.manifest.outputs)
        self._path = model.path
        self._copies = Copies()
        self._session = self._open_session(config, model)
        self._check_tensors()
        self._binding = self._session.io_binding()
        self._results = self._bind_outputs()
        for _ in range(WARM_UP_RUNS):
            self.infer(np.zeros(self.input.shape[1:], np.uint8))

    @property
    def copies(self) -> Copies:
        return self._copies

    def _open_session(self, config: Config, model: Model) -> Any:
        return self._session_of([CPU], config, model)

    def _session_of(self, providers: list[Any], config: Config, model: Model) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = config.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if config.provider == "tensorrt":  # which gets the file as it is: biases on a grid, say, it does not take
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Spinning workers would take the core that GStreamer decodes on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return ort.InferenceSession(model.content, options, providers=providers)
        except Exception as exc:  # ONNX Runtime raises its own classes straight from Exception
            raise InferenceError(f"{model.path}: ONNX Runtime cannot load it: {_first_line(exc)}") from exc

    def _bind_outputs(self) -> dict[str, npt.NDArray[Any]]:
        results = {output.name: np.zeros(output.shape, dtype=output.dtype) for output in self.outputs}
        for name, array in results.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return results

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
            self._copies += Copies(host=1)
            packed = np.ascontiguousarray(image)
            pointer = packed.ctypes.data
        return self._run("cpu", 0, pointer)

    def _run(self, device: str, index: int, pointer: int, options: Any = None) -> Mapping[str, npt.NDArray[Any]]:
        self._binding.bind_input(self.input.name, device, index, np.uint8, self.input.shape, pointer)
        try:
            self._session.run_with_iobinding(self._binding, options)
        except Exception as exc:
            raise InferenceError(f"{self._path}: {_first_line(exc)}") from exc
        return self._results

    def close(self) -> None:
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()


class OnnxGpuBackend(OnnxBackend):
    """The same on a GPU, where a frame in its memory is read in place. Copies are those of `Placing`. Outputs are
    written into page-locked memory that the host reads in place.

    ONNX Runtime works on our stream, so what was put there for the frame comes first. TensorRT's provider builds
    engines of its own when the session is made, for minutes the first time: that is said in the log.
    """

    def __init__(self, config: Config, model: Model) -> None:
        self._closers = ExitStack()
        self._index = config.device
        self._graphs = _Graphs() if config.cuda_graph else None
        with ExitStack() as undo:
            undo.callback(self.close)
            super().__init__(config, model)
            undo.pop_all()

    def _open_session(self, config: Config, model: Model) -> Any:
        provider = GPU[config.provider]
        if provider not in ort.get_available_providers():
            raise InferenceError(
                f"this ONNX Runtime has no {provider}: install onnxruntime-gpu in place of onnxruntime"
            )
        try:
            keep = self._closers.enter_context
            device = keep(closing(gpu.Device.open(config.device)))
            self._stream = keep(closing(gpu.Stream()))
            self._placing = keep(closing(Placing(device, self._stream, self.input, self._path)))
            self._memory = {each.name: keep(closing(gpu.Mapped(each.shape, each.dtype))) for each in self.outputs}
        except GpuError as exc:
            raise InferenceError(f"GPU {config.device}: {exc}") from exc
        session = self._session_of(_gpu_providers(config, self._stream), config, model)
        if session.get_providers()[0] != provider:  # it would run on the CPU without a word
            raise InferenceError(
                f"{self._path}: ONNX Runtime cannot use {provider} here: its CUDA libraries are missing"
            )
        session.disable_fallback()
        return session

    def _bind_outputs(self) -> dict[str, npt.NDArray[Any]]:
        for name, memory in self._memory.items():
            kind, shape = memory.array.dtype, memory.array.shape
            self._binding.bind_output(name, "cuda", self._index, kind, shape, memory.pointer)
        return {name: memory.array for name, memory in self._memory.items()}

    @property
    def copies(self) -> Copies:
        return self._placing.copies

    def infer(self, image: Any) -> Mapping[str, npt.NDArray[Any]]:
        """See `types.Backend.infer` and `Placing.place`."""
        try:
            pointer = self._placing.place(image)
            options = self._graphs.options(pointer) if self._graphs else None
            results = self._run("cuda", self._index, pointer, options)
            self._stream.synchronize()
        except GpuError as exc:
            raise InferenceError(f"{self._path}: {exc}") from exc
        return results

    def close(self) -> None:
        self._session = self._binding = None  # before the stream that they work on
        self._closers.close()


class _Graphs:
    """A CUDA graph for each input address: ONNX Runtime records one when it first meets its number, with the addresses
    of that moment, and replays it from then on.

    It records in CUDA's global mode, in which no other thread may allocate GPU memory meanwhile: GStreamer's threads
    must have filled their pools. That is the first frames' risk, so graphs are only made where they are asked for.
    """

    def __init__(self) -> None:
        self._by_address: dict[int, Any] = {}
        self._none = self._numbered(-1)  # this run as it is

    @staticmethod
    def _numbered(number: int) -> Any:
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(number))
        return options

    def options(self, address: int) -> Any:
        """ONNX Runtime's `RunOptions` for an input there. It never forgets a graph, so only GRAPHS are made."""
        if address not in self._by_address:
            if len(self._by_address) == GRAPHS:
                return self._none
            self._by_address[address] = self._numbered(len(self._by_address) + 1)  # 0 is ONNX Runtime's own
            if len(self._by_address) == GRAPHS:
                log.warning("%d CUDA graphs are made: frames at other addresses go without one", GRAPHS)
        return self._by_address[address]


def _gpu_providers(config: Config, stream: gpu.Stream) -> list[Any]:
    """What does each layer, best first; what none of them has is the CPU's."""
    common = {"device_id": config.device, "user_compute_stream": str(stream.handle)}
    cuda = (GPU["cuda"], {**common, "enable_cuda_graph": "1"} if config.cuda_graph else common)
    if config.provider == "cuda":
        return [cuda, CPU]
    folder = Path(config.cache_dir) / "onnxruntime"
    log.warning("TensorRT's provider may build its engine now, for minutes; it keeps it in %s", folder)
    own = {"trt_int8_enable": True, "trt_engine_cache_enable": True, "trt_timing_cache_enable": True}
    return [(GPU["tensorrt"], {**common, **own, "trt_engine_cache_path": str(folder)}), cuda, CPU]


def _spec(node: Any) -> TensorSpec:
    shape = tuple(side if isinstance(side, int) else -1 for side in node.shape)
    return TensorSpec(name=node.name, dtype=_DTYPES.get(node.type, node.type), shape=shape)


def _first_line(exc: Exception) -> str:
    return str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
