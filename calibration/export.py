"""A trained student as one ONNX file whose input is the frame the capture hardware filled.

    image     uint8 (1, S, S, 4) RGBA, alpha ignored
    polyp     float32 (1, 1, S/2, S/2) logits
    thumbnail float32 (1, 3, S/8, S/8) mean R, G, B of 8x8 cells, 0..255
    detail    float32 (1, 1, S/8, S/8) mean absolute Laplacian of luma of the same cells, 0..255 scale
    features  float32 (1, F) of the encoder, pooled: what a head that is added later stands on

`thumbnail` and `detail` let the host judge the picture without its pixels, which may never leave a GPU. Inside, the
encoder's maps are named `level2` .. `level32` and the decoder's `decoder4`, after their strides, for dense heads.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from calibration.features import pooled
from calibration.student import Student, folded
from edge.errors import ModelError

INPUT, CELL = "image", 8
SCALE, ZERO = np.float32(1 / 127.5), np.uint8(128)  # of the frame, read as a quantised tensor
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601
LAPLACIAN = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)
OPSET = 18
TENSORS = ("polyp", "features", "level2", "level4", "level8", "level16", "level32", "decoder4")  # what the net makes


class FromRGBA(nn.Module):
    """The student with a fourth input channel that its first convolution multiplies by zero, and all of TENSORS."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = folded(student)
        stem = next(m for m in self.student.encoder.modules() if isinstance(m, nn.Conv2d))
        stem.weight = nn.Parameter(torch.cat([stem.weight, torch.zeros_like(stem.weight[:, :1])], 1))
        stem.in_channels = 4

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        levels = self.student.encoder(x)
        decoder4 = self.student.decoded(levels)
        return self.student.polyp(decoder4), pooled(levels), *levels, decoder4


def _net(student: Student, side: int) -> onnx.ModelProto:
    """The student alone: `x` float (1, 4, side, side) to TENSORS."""
    # It says at length that torchvision, of which nothing is exported, is not there.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            FromRGBA(student).eval(),
            (torch.zeros(1, 4, side, side),),
            input_names=["x"],
            output_names=list(TENSORS),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ModelError("torch's exporter gave no program")
    net = program.model_proto
    for node in net.graph.node:
        del node.metadata_props[:]  # the exporter's stack traces, with this machine's paths
    return net


def kernels() -> dict[str, np.ndarray]:
    """Fixed convolutions on the normalised picture (a byte is 127.5 x + 128); alpha's weights are zero."""
    mean = np.zeros((3, 4, CELL, CELL), np.float32)
    mean[range(3), range(3)] = 1 / CELL**2
    laplacian = np.zeros((1, 4, 3, 3), np.float32)
    laplacian[0, :3] = 127.5 * LUMA[:, None, None] * LAPLACIAN
    return {
        "cells.mean": mean,
        "edges.laplacian": laplacian,
        "thumbnail.contrast": np.array(127.5, np.float32),
        "thumbnail.middle": np.array(128, np.float32),
    }


def _picture_quality() -> list[onnx.NodeProto]:
    """The nodes of `thumbnail` and `detail`. The Laplacian is taken at every fourth pixel each way."""
    node = helper.make_node
    samples = [CELL // 4] * 2
    return [
        node("Conv", ["x", "cells.mean"], ["cells"], "cells", kernel_shape=[CELL] * 2, strides=[CELL] * 2),
        node("Mul", ["cells", "thumbnail.contrast"], ["thumbnail.centred"], "thumbnail.contrast"),
        node("Add", ["thumbnail.centred", "thumbnail.middle"], ["thumbnail"], "thumbnail.middle"),
        node("Conv", ["x", "edges.laplacian"], ["edges"], "edges", kernel_shape=[3, 3], strides=[4, 4]),
        node("Abs", ["edges"], ["edges.size"], "detail.size"),
        node("AveragePool", ["edges.size"], ["detail"], "detail", kernel_shape=samples, strides=samples),
    ]


def exported(student: Student, side: int) -> onnx.ModelProto:
    """The FP32 model of the module's docstring, batch norm folded, checked by onnx."""
    net = _net(student, side).graph
    front = [
        helper.make_node("Transpose", [INPUT], ["planes"], "planes", perm=[0, 3, 1, 2]),
        helper.make_node("DequantizeLinear", ["planes", "image.scale", "image.zero"], ["x"], "normalise"),
    ]
    constants = {"image.scale": SCALE, "image.zero": ZERO, **kernels()}
    (width,) = (v.type.tensor_type.shape.dim[1].dim_value for v in net.output if v.name == "features")
    cells = side // CELL
    graph = helper.make_graph(
        [*front, *net.node, *_picture_quality()],
        "student",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, side, side, 4])],
        [
            helper.make_tensor_value_info("polyp", TensorProto.FLOAT, [1, 1, side // 2, side // 2]),
            helper.make_tensor_value_info("thumbnail", TensorProto.FLOAT, [1, 3, cells, cells]),
            helper.make_tensor_value_info("detail", TensorProto.FLOAT, [1, 1, cells, cells]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, width]),
        ],
        [*net.initializer, *(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="endoedge")
    model.ir_version = 8  # read by every ONNX Runtime and TensorRT that the project supports
    onnx.checker.check_model(model, full_check=True)
    return model
