"""ONNX Runtime for the factory: one way to open a model's file, as its numbers are meant."""

from __future__ import annotations

import onnx
import onnxruntime as ort
from onnx import TensorProto


def opened(model: onnx.ModelProto | bytes, threads: int = 1, *, optimised: bool = True) -> ort.InferenceSession:
    """On the CPU. Of a file with float16 scales ONNX Runtime's optimiser is kept off, always (`as_written`)."""
    proto, content = _both(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not optimised or as_written(proto):
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def as_written(model: onnx.ModelProto) -> bool:
    """Whether it must be run as it is: its DQ have float16 scales.

    ONNX Runtime (1.31, `WeightBiasQuantization`) would put biases on a grid of input scale x weight scale, a product
    that in float16 is too small to be a number: the answers were off by whole logits, without a word.
    """
    halves = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    return any(node.op_type == "DequantizeLinear" and node.input[1] in halves for node in model.graph.node)


def _both(model: onnx.ModelProto | bytes) -> tuple[onnx.ModelProto, bytes]:
    if isinstance(model, bytes):
        return onnx.load_model_from_string(model), model
    return model, model.SerializeToString()
