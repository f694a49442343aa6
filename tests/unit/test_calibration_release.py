"""A release is what the box loads, tells what was measured, and is refused when anything about it is not so."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration import golden
from calibration.build import sha256
from calibration.cli import release as command
from calibration.encodings import ENCODINGS, FILES
from calibration.release import release
from edge import golden as verifying
from edge import model
from edge.errors import ModelError
from edge.infer import onnx as backend
from tests.support import models

DESCRIPTION = """
version = "7"
labels = ["polyp"]
licence = "ours"
training_data = ['drawn "discs"']
title = "Finds what is green."
summary = "A test."
intended_use = "tests"
known_failures = ["misses what is red"]
made_by = ["endoedge-model train --recipe tiny.toml"]
"""
RUN = {
    "recipe": "tiny",
    "development": False,
    "revision": "abc123",
    "device": "a desk",
    "versions": {"torch": "2.0"},
    "sha256": {"manifest": "5" * 64},
    "stages": {"student": {"seconds": 90.0}},
    "seconds": 90.0,
}
HEAD = {
    "name": "landmark",
    "output": "landmark",
    "kind": "classify",
    "labels": ["other", "caecum"],
    "development": False,
    "why": "",
    "pictures": {"train": {"other": 20, "caecum": 20}, "val": {"other": 15, "caecum": 15}},
    "views": 8,
    "seed": 1,
    "datasets": ["discs"],
    "licences": ["ours"],
    "left_out": 0,
    "command": "endoedge-model add-head /home/somebody/build --head landmark --manifest /home/somebody/all.jsonl",
    "figures": {},
}
QUANTIZE = {
    "model_sha256": "7" * 64,
    "method": "percentile",
    "pictures": 64,
    "left_in_float": [{"layer": "stem", "reason": "too sensitive", "measured": 0.25}],
    "tensorrt": {"int8_convolutions": 40, "float_convolutions": {"edges": "too few channels"}, "violations": []},
    "agreement": {"within_one_step": 0.93, "mean_steps": 0.3, "largest_steps": 9.0, "dice": 0.99},
    "tensors": [],
}
COMMAND = "endoedge-model eval /home/somebody/build --dataset kvasir_seg /home/somebody/data/kvasir_seg/val --json"


def net(mark: str, padding: int = 0) -> onnx.ModelProto:
    """The support's green model with a landmark head; `mark` makes it another file, `padding` a large one."""
    made = models.graph(models.SIZE)
    weight = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    constants = {"landmark.w": weight, "spare": np.full(300 + padding, 0.1, np.float32)}
    made.graph.node.extend(
        [
            helper.make_node("GlobalAveragePool", ["c"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "landmark.w"], ["landmark"]),
            helper.make_node("Identity", ["spare"], ["unused"]),
        ]
    )
    made.graph.output.append(helper.make_tensor_value_info("landmark", TensorProto.FLOAT, [1, 2]))
    made.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    made.doc_string = mark
    return made


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No phantom: it takes seconds."""
    noise = np.random.default_rng(9).integers(0, 256, (2, models.SIZE, models.SIZE, 4), np.uint8)
    monkeypatch.setattr(golden, "frames", lambda side: noise)


class Factory:
    """A build, its evaluation and its description on disk; each can be spoiled before `release`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.build, self.models = folder, folder / "build", folder / "models"
        self.description, self.eval = folder / "tiny.toml", folder / "eval.jsonl"
        (self.build / "heads").mkdir(parents=True)
        self.description.write_text(DESCRIPTION)
        for precision, name in FILES.items():
            onnx.save(net(precision), str(self.build / name))
        self.write("run.json", RUN)
        self.write("quantize.json", QUANTIZE)
        self.write("heads/landmark.json", HEAD)
        self.say(self.line())

    def write(self, name: str, content: Any) -> None:
        (self.build / name).write_text(json.dumps(content))

    def line(self, **changes: Any) -> dict[str, Any]:
        """One evaluation of the build as it is on disk."""
        encodings = {
            encoding: {
                "dice": dice,
                "dice_ci95": [dice - 0.02, dice + 0.02],
                "picture_specificity": None,
                "froc": [[0.5, 0.9, 0.1]],
                "by_size": {"small": {"pictures": 4, "dice": 0.5, "dice_ci95": [0.4, 0.6]}},
                "heads": {"landmark": {"n": 30, "labels": HEAD["labels"], "balanced_accuracy": 0.95, "f1": {}}},
                "robustness": [{"corruption": "blur", "strength": 2, "dice": 0.7, "dice_ci95": [0.6, 0.8]}],
            }
            for encoding, dice in (("fp32", 0.91), ("int8_cpu", 0.9084), ("int8_trt", 0.908), ("fp16_trt", 0.9099))
        }
        files = {e: sha256((self.build / FILES[p]).read_bytes()) for e, p in ENCODINGS.items()}
        return {"dataset": "discs", "n": 40, "command": COMMAND, "files": files, "encodings": encodings} | changes

    def say(self, *lines: dict[str, Any]) -> None:
        self.eval.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def release(self) -> Path:
        return release(self.description, self.build, [self.eval], self.models)


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    return Factory(tmp_path)


def test_a_release_is_what_the_box_loads(factory: Factory) -> None:
    folder = factory.release()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*FILES.values(), "model.toml", "MODEL_CARD.md", "golden.npz"]
    )
    for precision in FILES:
        loaded = model.load(folder, precision)
        assert all(d.fits for d in verifying.differences(loaded, backend.open(backend.Config(), loaded)))
    said = loaded.manifest
    assert (said.name, said.version, said.labels) == ("tiny", "7", ["polyp"])
    assert [(head.name, head.output, head.kind, head.labels) for head in said.heads] == [
        ("polyp", "polyp", "segment", ["polyp"]),
        ("landmark", "landmark", "classify", ["other", "caecum"]),
    ]


def test_every_figure_is_there_with_interval_and_command(factory: Factory) -> None:
    said = model.load(factory.release()).manifest.measured
    rows = {(row.head, row.metric): row for row in said}
    dice = rows["", "dice"]
    assert (dice.fp32, dice.int8, dice.int8_trt, dice.fp16_trt, dice.n) == (0.91, 0.9084, 0.908, 0.9099, 40)
    assert dice.dataset == "discs"
    assert dice.ci95["int8"] == pytest.approx((0.8884, 0.9284))
    assert dice.command == "endoedge-model eval models/tiny --dataset kvasir_seg kvasir_seg/val --json"
    assert rows["", "dice, by size small"].int8 == 0.5
    assert rows["landmark", "balanced accuracy"].int8_trt == 0.95
    assert not any("strength" in metric or "froc" in metric for _, metric in rows)


def test_the_card_tells_all_of_it(factory: Factory) -> None:
    card = (factory.release() / "MODEL_CARD.md").read_text()
    for part in (
        "# tiny, version 7",
        "misses what is red",
        "| discs (40) | dice | 0.91 [0.89, 0.93] | 0.9084 [0.8884, 0.9284] |",
        "### Head landmark",
        "dice, blur 2 | 0.7 [0.6, 0.8]",
        "endoedge-model eval models/tiny",
        "endoedge-model train --recipe tiny.toml",
        "abc123",
        "Ranges by percentile on 64 training pictures",
        "- stem: too sensitive (0.25)",
        "endoedge-model add-head",
        "5" * 64,
    ):
        assert part in card
    assert "/home/somebody" not in card
    assert "\n\n\n" not in card


def test_weights_that_are_float16_numbers_are_stored_as_such(factory: Factory) -> None:
    small = net("fp32", padding=20_000)
    rounded = numpy_helper.from_array(np.full(20_300, np.float16(0.1), np.float32), "spare")
    next(t for t in small.graph.initializer if t.name == "spare").CopyFrom(rounded)
    onnx.save(small, str(factory.build / "fp32.onnx"))
    factory.say(factory.line())
    written = factory.release() / "fp32.onnx"
    assert written.stat().st_size < 0.6 * (factory.build / "fp32.onnx").stat().st_size
    again = Factory(factory.folder / "again")
    (again.build / "fp32.onnx").write_bytes(written.read_bytes())
    again.say(again.line())
    assert (again.release() / "fp32.onnx").read_bytes() == written.read_bytes()


def spoil(path: str, key: str, value: Any) -> Callable[[Factory], None]:
    def change(factory: Factory) -> None:
        content = json.loads((factory.build / path).read_text())
        factory.write(path, content | {key: value})

    return change


def judged(key: str, value: Any, *, encoding: str = "int8_cpu", head: str = "") -> Callable[[Factory], None]:
    def change(factory: Factory) -> None:
        line = factory.line()
        report = line["encodings"][encoding]
        (report["heads"][head] if head else report)[key] = value
        factory.say(line)

    return change


def said(**changes: Any) -> Callable[[Factory], None]:
    return lambda factory: factory.say(factory.line(**changes))


def without(name: str) -> Callable[[Factory], None]:
    return lambda factory: (factory.build / name).unlink()


def another(precision: str, **changes: Any) -> Callable[[Factory], None]:
    return lambda factory: onnx.save(net("another", **changes), str(factory.build / f"{precision}.onnx"))


def headless(factory: Factory) -> None:
    made = net("int8")
    del made.graph.output[-1]
    onnx.save(made, str(factory.build / "int8.onnx"))


def measured_again(change: Callable[[Factory], None]) -> Callable[[Factory], None]:
    def changed(factory: Factory) -> None:
        change(factory)
        factory.say(factory.line())

    return changed


REFUSED: dict[str, tuple[Callable[[Factory], None], str]] = {
    "a file changed since": (another("int8"), r"int8\.onnx is not the file that was measured on discs: its sha256"),
    "no digests": (said(files={}), r"not the file that was measured on discs: .* figures are of no file"),
    "head not measured": (
        judged("balanced_accuracy", None, head="landmark"),
        "landmark has no balanced_accuracy of int8_",
    ),
    "polyp not measured": (judged("dice", None, encoding="int8_trt"), "head polyp has no dice of int8_trt"),
    "int8 too weak": (judged("dice", 0.9049), r"int8_cpu loses 0\.0051 Dice on discs \(0\.9049 .* 0\.9100\)"),
    "labels differ": (judged("labels", ["caecum", "other"], head="landmark"), "head landmark has labels .* judged by"),
    "training pictures": (said(command=COMMAND + " --split train"), "discs are of pictures that were trained on"),
    "unknown encoding": (said(encodings={"int4": {}}), "unknown encoding int4"),
    "development run": (
        spoil("run.json", "development", True),
        "recipe tiny may have seen pictures that must not ship",
    ),
    "development head": (
        measured_again(lambda f: f.write("heads/landmark.json", HEAD | {"development": True, "why": "LIMUC"})),
        "head landmark is for development only: LIMUC",
    ),
    "no report": (without("quantize.json"), r"quantize\.json: cannot be read"),
    "no run": (without("run.json"), r"run\.json: cannot be read"),
    "no file": (without("int8_trt.onnx"), r"int8_trt\.onnx: cannot be read"),
    "no sidecar": (without("heads/landmark.json"), r"output landmark is of no head: heads/landmark\.json is missing"),
    "sidecar incomplete": (lambda f: f.write("heads/landmark.json", {}), r"landmark\.json: not a record of a head"),
    "other tensors": (headless, r"int8\.onnx: has 3 outputs, but fp32\.onnx has 4"),
    "too large": (measured_again(another("fp32", padding=2_000_000)), r"fp32\.onnx has 8\.0 MB, at most 8 are allowed"),
    "no onnx": (lambda f: (f.build / "int8.onnx").write_bytes(b"\xff" * 9), r"int8\.onnx: is no ONNX file"),
    "labels too many": (
        lambda f: f.description.write_text(DESCRIPTION.replace('["polyp"]', '["polyp", "ulcer"]')),
        r"heads\[0\] \(polyp\): labels has 2 names, so output 'polyp' should have 2 channels; it has 1",
    ),
    "report incomplete": (lambda f: f.write("quantize.json", {}), r"quantize\.json: .* required field `method`"),
    "no evaluation": (lambda f: f.eval.write_text("\n"), r"eval\.jsonl: no figures in it"),
    "foreign evaluation": (
        lambda f: f.eval.write_text('\n{"a": 1}\n'),
        r"eval\.jsonl, line 2: not what `endoedge-model",
    ),
    "unknown word": (lambda f: f.description.write_text(DESCRIPTION + "limtis = 1"), r"tiny\.toml: unknown key limtis"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_must_not_be_released_is_not(factory: Factory, reason: str) -> None:
    before = factory.release()
    card = (before / "MODEL_CARD.md").read_bytes()
    change, message = REFUSED[reason]
    change(factory)
    with pytest.raises(ModelError, match=message) as caught:
        factory.release()
    assert "\n" not in str(caught.value)
    assert (before / "MODEL_CARD.md").read_bytes() == card
    assert [path.name for path in factory.models.iterdir()] == ["tiny"]


def test_the_command_says_what_it_wrote(factory: Factory, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    words = [str(factory.description), str(factory.build), "--eval", str(factory.eval), "--models", str(factory.models)]
    assert command.run(parser.parse_args(words)) == 0
    said = capsys.readouterr().out
    assert all(str(path) in said for path in (factory.models / "tiny").iterdir())
