"""The audit of an engine, from JSON of the forms that TensorRT 10 and 11 and trtexec write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge.errors import InferenceError
from edge.infer import inspector
from edge.infer.inspector import Row

CONV = "/encoder/stem/Conv + /encoder/stem/Relu"


def tensor(name: str, kind: str, key: str = "Format/Datatype") -> dict[str, Any]:
    return {"Name": name, "Location": "Device", "Dimensions": [1, 32, 64, 64], key: kind}


def layer(name: str, kind: str, read: str, written: str, **more: Any) -> dict[str, Any]:
    said = {"Name": name, "LayerType": kind, "Inputs": [tensor("in", read)], "Outputs": [tensor("out", written)]}
    return {**said, "TacticValue": "0x00000000000003e8", "StreamId": 0, "Metadata": "", **more}


# As TensorRT 10 writes them: long formats of typed tensors, one word where Myelin fused.
TEN = {
    "Layers": [
        layer("Reformatting CopyNode for Input Tensor 0", "Reformat", "Row major linear FP32", "Row major Int8 format"),
        layer(
            CONV,
            "CaskConvolution",
            "Thirty-two wide channel vectorized row major Int8 format",
            "Thirty-two wide channel vectorized row major Int8 format",
            ParameterType="Convolution",
            Weights={"Type": "Int8", "Count": 864},
            Bias={"Type": "Float", "Count": 32},
        ),
        layer(
            "/decoder/Conv",
            "CaskConvolution",
            "Channel major FP16 format where channel % 8 == 0",
            "Channel major FP16 format where channel % 8 == 0",
            Weights={"Type": "Half", "Count": 9216},
        ),
        layer("__myl_CastMulAdd_myl0_1", "kgen", "Half", "Float"),
        layer("/thumbnail/AveragePool", "CaskPooling", "Row major linear FP32", "Row major linear FP32"),
        layer("shape", "Shape", "Int32", "Int64"),
    ],
    "Bindings": ["image", "polyp"],
}
PROFILE = [
    {"count": 100},
    {"name": "Reformatting CopyNode for Input Tensor 0", "timeMs": 10.0, "averageMs": 0.1, "percentage": 10.0},
    {"name": CONV, "timeMs": 40.0, "averageMs": 0.4, "percentage": 40.0},
    {"name": "/decoder/Conv", "timeMs": 20.0, "averageMs": 0.2, "percentage": 20.0},
    {"name": "__myl_CastMulAdd_myl0_1", "timeMs": 20.0, "averageMs": 0.2, "percentage": 20.0},
    {"name": "/thumbnail/AveragePool", "timeMs": 10.0, "averageMs": 0.1, "percentage": 10.0},
]


def rows(audit: inspector.Audit) -> dict[str, tuple[int, float | None]]:
    return {row.what: (row.layers, row.share and round(row.share, 6)) for row in audit.rows()}


def test_layers_are_told_by_what_they_multiply() -> None:
    audit = inspector.audit(json.dumps(TEN), json.dumps(PROFILE))
    assert audit.ms == pytest.approx(1.0)
    assert rows(audit) == {
        "INT8": (1, 0.4),
        "FP16": (2, 0.4),
        "FP32": (1, 0.1),
        "other": (1, 0.0),
        "conversions": (1, 0.1),
    }


def test_without_times_layers_are_counted() -> None:
    audit = inspector.audit(json.dumps(TEN))
    assert audit.ms is None
    assert audit.rows()[0] == Row("INT8", 1, None, None)


@pytest.mark.parametrize("key", ["DataType", "Datatype"])
def test_eleven_says_a_tensor_s_type_and_format_apart(key: str) -> None:
    said = {
        "Layers": [
            {
                "Name": CONV,
                "LayerType": "CaskConvolution",
                "Inputs": [{**tensor("x", "Int8", key), "Format": "Thirty-two wide channel vectorized row major"}],
                "Outputs": [{**tensor("y", "Half", key), "Format": "Row major linear"}],
            }
        ],
        "I/O Tensors": [{"Name": "x", "IOMode": "Input", "DataType": "Int8", "Dimensions": [1, 3, 8, 8]}],
    }
    assert rows(inspector.audit(json.dumps(said))) == {"INT8": (1, None)}


@pytest.mark.parametrize(
    ("words", "precision"),
    [
        ("Row major linear BFloat16 format", "BF16"),
        ("FP8", "FP8"),
        ("Float", "FP32"),
        ("Half", "FP16"),
        ("Row major linear INT8", "INT8"),
        ("UInt8", "other"),
        ("N/A due to dynamic shapes", "other"),
    ],
)
def test_words_of_types(words: str, precision: str) -> None:
    audit = inspector.audit(json.dumps({"Layers": [layer("x", "kgen", words, words)]}))
    assert audit.layers[0].precision == precision


def test_layers_without_tensors_are_other() -> None:
    audit = inspector.audit(
        json.dumps({"Layers": [{"Name": "c", "LayerType": "Constant", "Inputs": [], "Outputs": []}]})
    )
    assert audit.layers[0].precision == "other"


@pytest.mark.parametrize(
    ("layers", "profile", "why"),
    [
        ("nothing", None, "a.json: is not JSON"),
        ("[]", None, "is no JSON of TensorRT's engine inspector"),
        ('{"Layers": []}', None, "is no JSON of TensorRT's engine inspector"),
        (json.dumps({"Layers": [CONV], "Bindings": ["image"]}), None, "names alone: build the engine with detailed"),
        (json.dumps(TEN), "{}", 'its profile is no list of layers with "name" and "averageMs"'),
        (json.dumps(TEN), '[{"count": 3}, {"name": "x"}]', "its profile is no list"),
    ],
)
def test_what_is_no_audit_is_said(layers: str, profile: str | None, why: str) -> None:
    with pytest.raises(InferenceError, match=why):
        inspector.audit(layers, profile, "a.json")


@pytest.mark.parametrize(
    ("int8", "fp16", "chosen"),
    [(0.485, 0.758, "int8_trt"), (0.781, 0.850, "int8_trt"), (0.84, 0.85, "fp16_trt"), (1.2, 0.85, "fp16_trt")],
)
def test_the_faster_one_is_chosen_and_fp16_where_it_is_a_draw(int8: float, fp16: float, chosen: str) -> None:
    precision, why = inspector.choice(int8, fp16)
    assert precision == chosen
    assert ("INT8 is not faster" in why) == (chosen == "fp16_trt")
