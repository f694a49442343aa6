"""What an x86 machine with an NVIDIA GPU can prove and measure: `tools/gpu_bench.sh`, or `python -m tools.gpu_bench`.

Each measurement is a file in `children/` with `run(options) -> dict`, in a process of its own: a driver that crashes
costs its own figure. Several streams are as many processes, as a GPU would be shared in practice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edge import model, paths
from edge.cli import assemble
from edge.infer import onnx
from edge.types import DEVICE, Backend, Memory, Model, Struct
from tools.on_device import site

ROOT = Path(__file__).parents[2]
PROFILE = "x86-cuda"


class Options(Struct, frozen=True, kw_only=True):
    """What the caller wants, and a child gets as JSON."""

    clip: str
    engine: Literal["onnx", "tensorrt"] = "onnx"
    cuda_graph: bool = True  # of ONNX Runtime; TensorRT's backend makes its own
    model: str = ""  # a released model's folder; default: the one that the colonoscopy pipeline names
    pipeline: str = "colonoscopy"
    seconds: float = 20.0  # of a run of streams
    runs: int = 2000  # of the bare engine


def released(options: Options) -> Model:
    """The file that the engine runs. Raises ModelError, ConfigError."""
    pipeline, _ = assemble.load_pipeline(pipeline_file(options))
    folder = Path(options.model) if options.model else paths.data_dir("models") / pipeline.model
    return model.load(folder, "fp32" if options.engine == "onnx" else "int8_trt")


def pipeline_file(options: Options) -> Path:
    """A pipeline by its name, or a file of it."""
    named = Path(options.pipeline)
    return named if named.suffix == ".toml" else paths.data_dir("pipelines") / f"{options.pipeline}.toml"


def open_backend(options: Options, loaded: Model) -> Backend:
    """Raises InferenceError: no GPU, no such provider here, no engine built."""
    if options.engine == "onnx":
        return onnx.open(onnx.Config(provider="cuda", cuda_graph=options.cuda_graph), loaded)
    from edge.infer import tensorrt

    return tensorrt.open(tensorrt.Config(cache_dir=str(site.ENGINES)), loaded)


READS: tuple[Memory, ...] = DEVICE  # what both engines take frames from
