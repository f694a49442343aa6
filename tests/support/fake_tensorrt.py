"""TensorRT for tests: the classes that our code touches, with the behaviour of the vendor's, over ONNX Runtime.

An engine's plan holds the ONNX behind a header of the real form, and runs it on what lies at the bound device
addresses, in order on the stream (see `tests/support/fake_cuda`). So outputs are the model's own. What may go wrong is
put into `Faults`. `tests/contract/test_tensorrt_api.py` holds every class, method and argument of this file against the
bindings of each TensorRT generation.
"""

from __future__ import annotations

import ctypes
import enum
import json
import struct
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edge.infer.engine_store import MAGIC
from tests.support.fake_cuda import FakeCuda
from tests.support.trt_faults import Faults, Seen

HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
PHASES = (("Building the engine", "", 3), ("Timing tactics", "Building the engine", 40), ("Serializing", "", 1))


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = Severity

    def __init__(self) -> None: ...

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def __init__(self) -> None: ...

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class IProfiler:
    def __init__(self) -> None: ...

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1  # 0 from TensorRT 11 on: see `install`


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0


class ProfilingVerbosity(enum.IntEnum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 1


class LayerInformationFormat(enum.IntEnum):
    ONELINE = 0
    JSON = 1


class TensorIOMode(enum.IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = "float32"
    HALF = "float16"
    INT8 = "int8"
    INT32 = "int32"
    UINT8 = "uint8"
    INT64 = "int64"


class _Native:
    """What C++ made: it is not constructed from Python. One `Fake` is behind all of them."""

    fake: ClassVar[Fake]


class IHostMemory(_Native, bytes):
    """Bytes: the real one has the buffer protocol."""


class ITimingCache(_Native):
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(self.content + b"+timed")


class IBuilderConfig(_Native):
    profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
    progress_monitor: IProgressMonitor | None = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        self.fake.seen.workspace = pool_size

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache.content and self.fake.faults.timing_mismatch and not ignore_mismatch:
            return False
        self.fake.seen.timing_caches.append(cache.content)
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self._cache


class INetworkDefinition(_Native):
    def __init__(self) -> None:
        self.content = b""


class ParserError(_Native):
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text

    def node(self) -> int:
        return 0

    def node_name(self) -> str:
        return "first"

    def node_operator(self) -> str:
        return "Conv"


class OnnxParser(_Native):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            graph = onnx.load_from_string(model).graph
        except Exception as exc:  # protobuf's own
            self._errors.append(ParserError(f"Failed to parse: {type(exc).__name__}"))
            return False
        frames = {value.name for value in graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8}
        wrong = [node for node in graph.node if frames.intersection(node.input) and node.op_type != "Cast"]
        if wrong:  # issue 3985 of NVIDIA/TensorRT: "All UINT8 inputs must directly feed into a cast layer"
            self._errors.append(ParserError(f"UINT8 goes into {wrong[0].op_type}"))
            return False
        self._network.content = model
        return True


class Builder(_Native):
    def __init__(self, logger: ILogger) -> None:
        self.fake.require_gpu(logger)
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        self.fake.seen.flags = flags
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        if config.progress_monitor is not None and not self._progress(config.progress_monitor):
            return None
        if self.fake.faults.build:
            self._logger.log(Severity.ERROR, self.fake.faults.build)
            return None
        return IHostMemory(self.fake.plan(network.content, config.profiling_verbosity))

    def _progress(self, monitor: IProgressMonitor) -> bool:
        """Outer phases with one within, as the real one reports; False as soon as the monitor says stop."""
        for name, parent, steps in PHASES:
            monitor.phase_start(name, parent, steps)
            for step in range(steps):
                if not monitor.step_complete(name, step):
                    return False
            monitor.phase_finish(name)
        return True


class Runtime(_Native):
    def __init__(self, logger: ILogger) -> None:
        self.fake.require_gpu(logger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            return ICudaEngine(serialized_engine, self._logger)
        except ValueError as exc:
            self._logger.log(Severity.ERROR, str(exc))
            return None


class ICudaEngine(_Native):
    def __init__(self, plan: bytes, logger: ILogger) -> None:
        magic, *_, major, minor, _, _ = struct.unpack_from("<6I4B", plan)
        if magic != MAGIC:
            raise ValueError("Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match")
        if (major, minor) != self.fake.version[:2]:
            raise ValueError("The engine plan file is not compatible with this version of TensorRT, please rebuild.")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # a file as it is written
        try:
            self.session = ort.InferenceSession(plan[32:], options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # ONNX Runtime raises straight from Exception
            raise ValueError("Serialization assertion stdArchiveReader failed: the plan is corrupted") from exc
        self.detailed = plan[28] == ProfilingVerbosity.DETAILED
        self.logger = logger
        self._tensors = [(node, TensorIOMode.INPUT) for node in self.session.get_inputs()]
        self._tensors += [(node, TensorIOMode.OUTPUT) for node in self.session.get_outputs()]

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return str(self._tensors[index][0].name)

    def _tensor(self, name: str) -> tuple[Any, TensorIOMode]:
        return next(pair for pair in self._tensors if pair[0].name == name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self._tensor(name)[1]

    def get_tensor_dtype(self, name: str) -> DataType:
        kind = self._tensor(name)[0].type
        return {"tensor(float)": DataType.FLOAT, "tensor(uint8)": DataType.UINT8, "tensor(float16)": DataType.HALF}[
            kind
        ]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensor(name)[0].shape)

    def create_execution_context(self) -> IExecutionContext | None:
        if self.fake.faults.context:
            self.logger.log(Severity.ERROR, self.fake.faults.context)
            return None
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)


class EngineInspector(_Native):
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        assert format is LayerInformationFormat.JSON
        names = [f"layer of {node.name}" for node in self._engine.session.get_outputs()]
        if not self._engine.detailed:
            return json.dumps({"Layers": names})
        tensors = [{"Name": "x", "Dimensions": [1, 8, 8, 8], "Format/Datatype": "Int8"}]
        layers = [
            {"Name": name, "LayerType": "CaskConvolution", "Inputs": tensors, "Outputs": tensors} for name in names
        ]
        return json.dumps({"Layers": layers, "Bindings": []})


class IExecutionContext(_Native):
    profiler: IProfiler | None = None

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self.fake.faults.bind or not self.fake.cuda.memory(memory):
            self._engine.logger.log(Severity.ERROR, f"Address of {name} is not on the device")
            return False
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        fake, session = self.fake, self._engine.session
        tensors = [*session.get_inputs(), *session.get_outputs()]
        unbound = [node.name for node in tensors if node.name not in self._addresses]
        fault = fake.faults.enqueue or (f"Tensors without an address: {unbound}" if unbound else "")
        capturing = fake.cuda.capturing(stream_handle)
        if capturing and fake.faults.enqueue_captured:
            fault = "Cask convolution cannot be captured"
        if fault:
            self._engine.logger.log(Severity.ERROR, fault)
            return False
        addresses = dict(self._addresses)  # frozen: this is what a graph repeats
        places = {node.name: self._place(node, addresses[node.name]) for node in tensors}

        def work(_: object) -> None:
            feeds = {node.name: places[node.name].copy() for node in session.get_inputs()}
            fake.seen.executions.append(addresses[session.get_inputs()[0].name])
            for node, value in zip(session.get_outputs(), session.run(None, feeds), strict=True):
                places[node.name][...] = value

        kept = HOST_FUNCTION(work)
        fake.kept.append(kept)
        if self.profiler is not None:
            for node in session.get_outputs():
                self.profiler.report_layer_time(f"layer of {node.name}", 0.25)
        return fake.cuda.enqueue(stream_handle, kept) == 0

    def _place(self, node: Any, pointer: int) -> np.ndarray[Any, Any]:
        kind = np.dtype({"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(float16)": "float16"}[node.type])
        size = int(np.prod(node.shape)) * kind.itemsize
        memory = (ctypes.c_ubyte * size).from_address(self.fake.cuda.memory(pointer))
        return np.frombuffer(memory, kind).reshape(node.shape)


class Fake:
    """One TensorRT of one version."""

    def __init__(self, cuda: FakeCuda, version: tuple[int, int, int, int]) -> None:
        self.cuda = cuda
        self.version = version
        self.faults = Faults()
        self.seen = Seen()
        self.kept: list[object] = []  # callbacks that streams and graphs still point at

    def require_gpu(self, logger: ILogger) -> None:
        if self.faults.no_gpu:
            logger.log(Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def plan(self, content: bytes, verbosity: ProfilingVerbosity = ProfilingVerbosity.DETAILED) -> bytes:
        return struct.pack("<6I4B4B", MAGIC, 0, 0, 0, len(content), 0, *self.version, verbosity, 0, 0, 0) + content


def install(
    monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda, version: tuple[int, int, int, int] = (10, 3, 0, 26)
) -> Fake:
    """Make `import tensorrt` find it, for one test."""
    fake = _Native.fake = Fake(cuda, version)
    module = ModuleType("tensorrt")
    for name, value in public():
        setattr(module, name, value)
    if version[0] >= 11:
        flags = enum.IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 0})
        module.NetworkDefinitionCreationFlag = flags  # type: ignore[attr-defined]
    module.__version__ = ".".join(map(str, version[:3]))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return fake


def public() -> Iterator[tuple[str, type]]:
    """The classes of TensorRT that this file stands for."""
    for name, value in globals().items():
        ours = isinstance(value, type) and value.__module__ == __name__
        if ours and not name.startswith("_") and value not in (Fake, Severity):
            yield name, value
