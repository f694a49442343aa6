"""TensorRT 10.3 to 11.4 by one code path: the Jetson's backend. The only file that imports `tensorrt`, when chosen.

The engine reads the frame where the capture hardware put it (`__cuda_array_interface__`) and writes its outputs into
page-locked memory that the host reads in place. A buffer of the capture's rotating pool that comes again is served by
a CUDA graph of its own. Engines are built by `endoedge model build`, never here: that takes minutes.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy.typing as npt

from edge.errors import GpuError, InferenceError
from edge.infer import trt_build
from edge.infer.engine_store import EngineStore, Key
from edge.infer.placing import Placing
from edge.infer.trt_build import Built, Progress
from edge.memory import gpu
from edge.types import DEVICE, Copies, Memory, Model, Precision, TensorSpec

GRAPHS = 16  # the capture's pool has 8 buffers; twice that, and it was rebuilt in between
POWER_MODE = Path("/var/lib/nvpmodel/status")  # "pmode:0002": an engine is tuned to the clocks it was built at
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT8": "int8", "INT32": "int32", "INT64": "int64"}


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[infer]` with `backend = "tensorrt"`. `precision = "best"`: the one that `endoedge model audit` chose here."""

    cache_dir: str = "/var/lib/endoedge/engines"
    cache_mib: Annotated[int, msgspec.Meta(ge=16, le=65536)] = 1024
    workspace_mib: Annotated[int, msgspec.Meta(ge=16, le=65536)] = 1024
    device: Annotated[int, msgspec.Meta(ge=0, le=63)] = 0
    precision: Literal["best", "int8_trt", "fp16_trt"] = "best"


def open(config: Config, model: Model) -> TensorRTBackend:
    """With the engine that `endoedge model build` made for this model, GPU and TensorRT.

    Raises InferenceError: no TensorRT, no GPU, no engine (and how to make one), or one that does not fit.
    """
    device = open_device(config)
    try:
        engine = store(config).load(key(device, model), model.manifest.golden.sha256)
        return TensorRTBackend(device, model, engine.plan, tuned=engine.exact)
    except BaseException:
        device.close()
        raise


def precision(config: Config) -> Precision:
    """Which of a model's files to run: as configured, as an audit chose, else INT8."""
    if config.precision != "best":
        return config.precision
    choice = store(config).choice()
    return choice.precision if choice else "int8_trt"


def reads(config: Config) -> tuple[Memory, ...]:  # noqa: ARG001
    """See `types.Backend`."""
    return DEVICE


def load() -> Any:
    """The module `tensorrt`. Raises InferenceError that says where it comes from."""
    try:
        import tensorrt
    except (ImportError, OSError) as exc:
        hint = "on a Jetson: apt install python3-libnvinfer, and a venv with --system-site-packages"
        raise InferenceError(f"TensorRT's Python bindings cannot be imported ({exc}): {hint}") from exc
    return tensorrt


def store(config: Config) -> EngineStore:
    return EngineStore(Path(config.cache_dir), config.cache_mib * 2**20)


def open_device(config: Config) -> gpu.Device:
    with _as_inference_error(f"GPU {config.device}"):
        return gpu.Device.open(config.device)


def key(device: gpu.Device, model: Model) -> Key:
    """What an engine for this model on this machine is kept under."""
    try:
        mode = POWER_MODE.read_text(encoding="ascii", errors="replace").split()[0]
    except (OSError, IndexError):
        mode = "fixed"
    major, minor = device.compute_capability
    return Key(
        model_sha256=model.sha256,
        precision=model.precision,
        tensorrt=load().__version__,
        gpu=f"{device.name} sm{major}{minor}",
        power_mode=mode,
    )


def build(config: Config, model: Model, timing_cache: bytes, progress: Callable[[Progress], bool]) -> Built:
    """See `trt_build.build`. The device must be current in this thread."""
    return trt_build.build(load(), model, config.workspace_mib * 2**20, timing_cache, progress)


class TensorRTBackend:
    """See `types.Backend`. Owner: one thread, in which the device is current. It owns `device` and closes it.

    `copies` are those of `Placing`.
    `tuned`: the engine was built at this power mode; otherwise it is right, and another may be faster.
    """

    name = "tensorrt"

    def __init__(self, device: gpu.Device, model: Model, plan: bytes, *, tuned: bool = True) -> None:
        self.input = model.manifest.input
        self.outputs = tuple(model.manifest.outputs)
        self.tuned = tuned
        self._device = device
        self._path = model.path
        self._trt = load()
        self._log = trt_build.new_log(self._trt)
        self._closers = contextlib.ExitStack()
        self._graphs: OrderedDict[int, gpu.Graph | None] = OrderedDict()
        self._graphs_work = True
        self._context: Any = None
        self._engine: Any = None
        self._runtime: Any = None
        with contextlib.ExitStack() as undo, _as_inference_error(self._path):
            undo.callback(self._let_go)
            keep = self._closers.enter_context
            self._engine = self._deserialised(plan)
            self._check_tensors()
            self._stream = keep(closing(gpu.Stream()))
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise InferenceError(f"{self._path}: no execution context: {self._log.take()}")
            self._memory = {spec.name: keep(closing(gpu.Mapped(spec.shape, spec.dtype))) for spec in self.outputs}
            self._results: dict[str, npt.NDArray[Any]] = {name: memory.array for name, memory in self._memory.items()}
            self._placing = keep(closing(Placing(device, self._stream, self.input, self._path)))
            for name, ours in self._names.items():
                if ours in self._memory:
                    self._bind(name, self._memory[ours].pointer)
            self._run(self._placing.landing)  # the first run sets things up: not in front of a patient
            undo.pop_all()

    def _deserialised(self, plan: bytes) -> Any:
        try:
            self._runtime = self._trt.Runtime(self._log)
        except TypeError as exc:  # what pybind11 makes of a null pointer
            raise InferenceError(f"TensorRT cannot start here: {self._log.take()}") from exc
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise InferenceError(f"{self._path}: its engine cannot be loaded: {self._log.take()}")
        return engine

    def _check_tensors(self) -> None:
        trt, engine = self._trt, self._engine
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        self._names = self._ours(names)
        found: dict[str, tuple[Any, TensorSpec]] = {}
        for name in names:
            ours, dtype = self._names[name], engine.get_tensor_dtype(name).name
            spec = TensorSpec(name=ours, dtype=_DTYPES.get(dtype, dtype), shape=tuple(engine.get_tensor_shape(name)))
            found[ours] = engine.get_tensor_mode(name), spec
        for wanted, mode in [(self.input, trt.TensorIOMode.INPUT)] + [
            (output, trt.TensorIOMode.OUTPUT) for output in self.outputs
        ]:
            has = found.pop(wanted.name, None)
            if has != (mode, wanted):
                raise InferenceError(
                    f"{self._path}: tensor {wanted.name} should be {wanted.dtype} {list(wanted.shape)}, "
                    + (f"the engine has {has[1].dtype} {list(has[1].shape)}" if has else "the engine has none")
                )
        if found:
            raise InferenceError(f"{self._path}: the engine has tensors the model has not: {', '.join(found)}")

    def _ours(self, names: list[str]) -> dict[str, str]:
        """The model's names of an engine's tensors. torch-tensorrt before 2.14 counts outputs in the model's order."""
        counted = {f"output{place}": output.name for place, output in enumerate(self.outputs)}
        known = counted if counted.keys() <= set(names) else {}
        return {name: known.get(name, name) for name in names}

    @property
    def copies(self) -> Copies:
        return self._placing.copies

    def infer(self, image: Any) -> Mapping[str, npt.NDArray[Any]]:
        """See `types.Backend.infer` and `Placing.place`. When this returns the GPU has read the frame: its lease may
        end."""
        with _as_inference_error(self._path):
            self._run(self._placing.place(image))
        return self._results

    def _run(self, pointer: int) -> None:
        """One inference of the frame at `pointer`, finished when this returns.

        An address seen for the first time is enqueued as it is, which TensorRT wants before a capture; seen again, its
        graph is captured, and launched from then on.
        """
        graph = self._graphs.get(pointer)
        if graph is None:
            self._bind(self.input.name, pointer)
            if pointer in self._graphs and self._graphs_work:
                graph = self._graphs[pointer] = self._stream.captured(self._enqueue)
                self._graphs_work = graph is not None
        if graph is None:
            self._enqueue()
        else:
            graph.launch(self._stream)
        self._graphs.setdefault(pointer, None)
        self._graphs.move_to_end(pointer)
        self._stream.synchronize()
        while len(self._graphs) > GRAPHS:
            _, oldest = self._graphs.popitem(last=False)
            if oldest is not None:
                oldest.close()

    def _bind(self, name: str, pointer: int) -> None:
        if not self._context.set_tensor_address(name, pointer):
            raise InferenceError(f"{self._path}: {name} cannot be bound: {self._log.take()}")

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise InferenceError(f"{self._path}: TensorRT did not run it: {self._log.take()}")

    def layers(self) -> str:
        """The engine inspector's JSON: what `endoedge model audit` reads."""
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def layer_times(self, image: Any, runs: int) -> list[dict[str, Any]]:
        """Milliseconds of every layer over `runs` inferences, in the form of trtexec's profile. Slows them down."""
        profile = trt_build.new_profile(self._trt)
        with _as_inference_error(self._path):
            self._bind(self.input.name, self._placing.place(image))
            self._context.profiler = profile
            for _ in range(runs):  # never by a graph: its layers cannot be told apart
                self._enqueue()
                self._stream.synchronize()
        return [
            {"count": runs},
            *({"name": name, "timeMs": ms, "averageMs": ms / runs} for name, ms in profile.times.items()),
        ]

    def close(self) -> None:
        """Twice is harmless. The device goes last."""
        self._let_go()
        self._device.close()

    def _let_go(self) -> None:
        for graph in self._graphs.values():
            if graph is not None:
                graph.close()
        self._graphs.clear()
        self._context = self._engine = self._runtime = None
        self._closers.close()


@contextlib.contextmanager
def _as_inference_error(what: str) -> Iterator[None]:
    try:
        yield
    except GpuError as exc:
        raise InferenceError(f"{what}: {exc}") from exc
