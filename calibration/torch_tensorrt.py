"""A second way to an engine: the student straight from PyTorch, by torch-tensorrt, computing in FP16. Optional.

The box's own way is TensorRT's parser on the released ONNX (`edge/infer/trt_build.py`), which alone gives INT8 and the
heads that were added later. This one is for a machine where that parser fails, or to see what the detour costs. It has
to run on the GPU that the engine is for. Versions: 2.8 (the last with wheels for Orin) to 2.14, by one call; before
2.14 an engine's outputs have no names of ours, and the box takes them by their order.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from calibration.export import CELL, SCALE, TENSORS, FromRGBA, kernels
from calibration.student import Student
from edge.errors import ModelError

OUTPUTS = ("polyp", "thumbnail", "detail", "features")
WORKSPACE = 1 << 30


class FromFrame(nn.Module):
    """`image` uint8 (1, S, S, 4) to OUTPUTS, as `calibration/export.py` defines them; the net itself in float16."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.net = FromRGBA(student).eval().half()
        fixed = {name: torch.from_numpy(value) for name, value in kernels().items()}
        self.mean = nn.Buffer(fixed["cells.mean"])
        self.laplacian = nn.Buffer(fixed["edges.laplacian"])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = (image.permute(0, 3, 1, 2).float() - 128) * float(SCALE)
        made = dict(zip(TENSORS, self.net(x.half()), strict=True))
        thumbnail = conv2d(x, self.mean, stride=CELL) * 127.5 + 128
        detail = avg_pool2d(conv2d(x, self.laplacian, stride=4).abs(), CELL // 4)
        return made["polyp"].float(), thumbnail, detail, made["features"].float()


def engine(student: Student, side: int, device: str = "cuda") -> bytes:
    """TensorRT's plan. Raises ModelError: no torch-tensorrt, or what it said."""
    try:
        import torch_tensorrt
    except (ImportError, OSError) as exc:
        raise ModelError(
            f"torch-tensorrt cannot be imported ({exc}): pip install torch-tensorrt, of torch's version"
        ) from exc
    convert = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine
    frame = torch.zeros(1, side, side, 4, dtype=torch.uint8, device=device)
    program = torch.export.export(FromFrame(student).to(device), (frame,))
    options = {name: value for name, value in _options().items() if name in inspect.signature(convert).parameters}
    try:
        return cast(bytes, convert(program, arg_inputs=[frame], workspace_size=WORKSPACE, **options))
    except Exception as exc:  # it raises what its many parts raise
        raise ModelError(f"torch-tensorrt made no engine: {type(exc).__name__}: {exc}") from exc


def _options() -> dict[str, Any]:
    """What not every version knows: types as the graph has them (always so from 2.14 on), and names."""
    return {
        "use_explicit_typing": True,
        "arg_input_binding_names": ("image",),
        "output_binding_names": OUTPUTS,
    }
