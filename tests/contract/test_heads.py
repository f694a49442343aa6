"""What every file in `edge/heads/` must do. A new head is tested here without an edit."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

import edge.heads
from edge.errors import ConfigError, ModelError
from edge.types import Classification, Detection, Field, Findings, Frame, ModelHead, Quality, TensorSpec

FIELD = Field(x=40, y=10, width=600, height=500, outline=((140, 10), (540, 10), (640, 260), (540, 510), (140, 510)))
GARBAGE = {
    "zero": 0.0,
    "nan": math.nan,
    "inf": math.inf,
    "minus inf": -math.inf,
    "large": 3e38,
    "one": 1.0,
}


def module_of(kind: str):
    return importlib.import_module(f"edge.heads.{kind}")


def model_for(kind: str) -> tuple[tuple[TensorSpec, ...], list[ModelHead]]:
    """The outputs and labels that a head asks for, learnt from nothing but its errors: so they must say all of it."""
    module, outputs, heads = module_of(kind), [], []
    for _ in range(8):
        try:
            module.open(module.Config(), tuple(outputs), heads)
        except ModelError as exc:
            output = re.search(r'expected an output "([^"]+)", (\w+) \(([^)]+)\)', str(exc))
            entry = re.search(
                r'expected \[\[heads\]\] with output = "([^"]+)", kind = "(\w+)" and (\d+) labels', str(exc)
            )
            if output:
                shape = tuple(16 if size == "any" else int(size) for size in output[3].split(", "))
                outputs.append(TensorSpec(name=output[1], dtype=output[2], shape=shape))
            elif entry:
                labels = [f"label{number}" for number in range(int(entry[3]))]
                heads.append(ModelHead(name=entry[1], output=entry[1], kind=entry[2], labels=labels))
            else:
                raise AssertionError(f"does not say what it expects: {exc}") from exc
        else:
            return tuple(outputs), heads
    raise AssertionError(f"{kind} is never content: {outputs}, {heads}")


def outputs_for(kind: str) -> tuple[TensorSpec, ...]:
    return model_for(kind)[0]


def open_default(kind: str) -> edge.heads.Heads:
    return edge.heads.open_all([{"kind": kind}], *model_for(kind))


def frame(field: Field = FIELD) -> Frame:
    return Frame(seq=7, image=None, captured_ns=11, media_ns=13, field=field)


def arrays(outputs: tuple[TensorSpec, ...], value: float) -> dict[str, np.ndarray]:
    return {spec.name: np.full(spec.shape, value, spec.dtype) for spec in outputs}


def test_heads_are_the_files_of_the_folder() -> None:
    files = Path(edge.heads.__file__).parent.glob("[a-z]*.py")
    assert set(edge.heads.kinds()) == {path.stem for path in files} >= {"segment", "quality", "classify", "ordinal"}


@pytest.mark.parametrize("kind", edge.heads.kinds())
class TestEveryHead:
    def test_config_is_frozen_strict_and_complete(self, kind: str) -> None:
        config = module_of(kind).Config
        with pytest.raises(AttributeError):
            config().nothing = 1
        with pytest.raises(ConfigError, match=rf"heads\[0\], a {kind} head: .*no_such_key"):
            edge.heads.open_all([{"kind": kind, "no_such_key": 1}], outputs_for(kind))

    def test_missing_output(self, kind: str) -> None:
        with pytest.raises(ModelError, match=rf"{kind}.*expected an output.*outputs are: other"):
            edge.heads.open_all([{"kind": kind}], (TensorSpec(name="other", dtype="float32", shape=(1,)),))

    @pytest.mark.parametrize(
        "change",
        [
            {"dtype": "uint8"},
            {"shape": (1, 7, 16, 16)},
            {"shape": (1, 16, 16)},
            {"shape": (2, 1, 16, 16)},
            {"shape": ()},
        ],
        ids=str,
    )
    def test_wrong_output(self, kind: str, change: dict) -> None:
        outputs, heads = model_for(kind)
        for spec in outputs:
            wrong = tuple(msgspec.structs.replace(s, **change) if s == spec else s for s in outputs)
            with pytest.raises(ModelError, match=rf'{kind}.*"{spec.name}".*expected'):
                edge.heads.open_all([{"kind": kind}], wrong, heads)

    def test_labels_are_the_model_s(self, kind: str) -> None:
        """What is wrong with the manifest's labels is said with the output's name, the kind and the number wanted."""
        outputs, heads = model_for(kind)
        for entry in heads:
            for change in (
                {"output": "other"},
                {"kind": "dense"},
                {"labels": entry.labels[1:]},
                {"labels": [*entry.labels, "more"]},
            ):
                wrong = [msgspec.structs.replace(other, **change) if other is entry else other for other in heads]
                expected = (
                    rf'head {kind}.*output = "{entry.output}", kind = "{entry.kind}" and {len(entry.labels)} labels'
                )
                with pytest.raises(ModelError, match=expected):
                    edge.heads.open_all([{"kind": kind}], outputs, wrong)

    def test_says_only_its_labels(self, kind: str) -> None:
        outputs, heads = model_for(kind)
        head = module_of(kind).open(module_of(kind).Config(), outputs, heads)
        assert set(head.labels) >= {label for entry in heads for label in entry.labels}
        random = np.random.default_rng(2)
        for _ in range(20):
            found = head.decode(
                {spec.name: random.normal(0, 9, spec.shape).astype(spec.dtype) for spec in outputs}, FIELD
            )
            assert isinstance(found, Quality) or {one.label for one in found} <= set(head.labels)

    @pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE)
    def test_any_float_gives_a_finding(self, kind: str, value: float) -> None:
        outputs, heads = model_for(kind)
        head = module_of(kind).open(module_of(kind).Config(), outputs, heads)
        found = head.decode(arrays(outputs, value), FIELD)
        assert head.fills in Findings.__struct_fields__
        if head.fills == "quality":
            assert isinstance(found, Quality)
        else:
            assert isinstance(found, tuple)
            wanted = {"detections": Detection, "classifications": Classification}[head.fills]
            assert all(isinstance(one, wanted) and 0.0 <= one.score <= 1.0 for one in found)
        finite = msgspec.to_builtins(found)
        assert "nan" not in repr(finite)
        assert "inf" not in repr(finite)

    def test_noise_with_holes(self, kind: str) -> None:
        outputs, heads = outputs_for(kind), open_default(kind)
        random = np.random.default_rng(1)
        for _ in range(50):
            noise = {spec.name: random.normal(0, 50, spec.shape).astype(spec.dtype) for spec in outputs}
            for array in noise.values():
                array[random.random(array.shape) < 0.2] = random.choice([math.nan, math.inf, -math.inf])
            heads.decode(noise, frame())

    @pytest.mark.parametrize(
        "outline", [(), ((0, 0), (1, 1)), ((0, 0), (0, 0), (0, 0)), ((-1e4, -1e4), (1e5, 0), (0, 9))]
    )
    def test_a_field_without_an_inside(self, kind: str, outline: tuple) -> None:
        outputs, heads = outputs_for(kind), open_default(kind)
        heads.decode(arrays(outputs, 3.0), frame(Field(x=0, y=0, width=1, height=1, outline=outline)))

    def test_outputs_are_left_alone(self, kind: str) -> None:
        """They belong to the backend, and other heads read them too."""
        outputs, heads = model_for(kind)
        given = arrays(outputs, 9.0)
        for array in given.values():
            array.flags.writeable = False
        head = module_of(kind).open(module_of(kind).Config(), outputs, heads)
        assert head.decode(given, FIELD) == head.decode(given, FIELD)


def test_heads_together_make_findings() -> None:
    outputs = tuple({spec.name: spec for kind in ("segment", "quality") for spec in outputs_for(kind)}.values())
    tables = [{"kind": "segment"}, {"kind": "quality"}, {"kind": "segment", "label": "other"}]
    found = edge.heads.open_all(tables, outputs).decode(arrays(outputs, 9.0), frame())
    assert (found.seq, found.captured_ns, found.media_ns) == (7, 11, 13)
    assert [type(d) for d in found.detections] == [Detection, Detection]
    assert [d.label for d in found.detections] == ["polyp", "other"]
    assert found.quality is not None


@pytest.mark.parametrize("kind", ["nosuch", "__init__", "os", "..types", None, 3, ["segment"]])
def test_unknown_head_lists_what_there_is(kind: object) -> None:
    with pytest.raises(ConfigError, match=r"heads\[1\]\.kind is .*; there are: .*quality.*segment"):
        edge.heads.open_all([{"kind": "segment"}, {"kind": kind}], outputs_for("segment"))


def test_two_judges_of_the_picture() -> None:
    with pytest.raises(ConfigError, match=r"heads\[1\]: another head"):
        edge.heads.open_all([{"kind": "quality"}, {"kind": "quality"}], outputs_for("quality"))


def test_two_readers_of_one_output() -> None:
    with pytest.raises(ConfigError, match=r'heads\[1\]: another head already reads "landmark"'):
        edge.heads.open_all([{"kind": "classify"}, {"kind": "classify"}], *model_for("classify"))


def test_a_region_is_called_what_the_model_calls_it() -> None:
    heads = [ModelHead(name="polyp", output="polyp", kind="segment", labels=["polyp"])]
    edge.heads.open_all([{"kind": "segment"}], outputs_for("segment"), heads)
    with pytest.raises(ModelError, match=r'label = "ulcer", but the model\'s output "polyp" is of: polyp'):
        edge.heads.open_all([{"kind": "segment", "label": "ulcer"}], outputs_for("segment"), heads)


def test_what_rules_may_be_about() -> None:
    (regions, _), (classes, labels) = model_for("segment"), model_for("classify")
    tables = [{"kind": "segment"}, {"kind": "segment", "label": "other"}, {"kind": "classify"}]
    heads = edge.heads.open_all(tables, regions + classes, labels)
    assert heads.said("detections") == {"polyp": ("polyp", "other")}
    assert heads.said("classifications") == {"landmark": tuple(f"label{number}" for number in range(16))}
