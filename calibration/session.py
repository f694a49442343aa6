"""ONNX Runtime for the factory: one way to open a model's file."""

from __future__ import annotations

import onnx
import onnxruntime as ort


def opened(model: onnx.ModelProto | bytes, threads: int = 1, *, optimised: bool = True) -> ort.InferenceSession:
    """On the CPU, quietly."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
