"""The files of one model, and what evaluations call them."""

from __future__ import annotations

from edge.types import Precision

FILES: dict[Precision, str] = {
    "fp32": "fp32.onnx",
    "int8": "int8.onnx",
    "int8_trt": "int8_trt.onnx",
    "fp16_trt": "fp16_trt.onnx",
}
ENCODINGS: dict[str, Precision] = {
    "fp32": "fp32",
    "int8_cpu": "int8",
    "int8_trt": "int8_trt",
    "fp16_trt": "fp16_trt",
}
FILE_OF = {encoding: FILES[precision] for encoding, precision in ENCODINGS.items()}
REFERENCE = FILES["fp32"]
