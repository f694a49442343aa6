"""A build and what was measured of it, to `models/NAME/`: every figure in there was printed by a command.

What may reach a patient is decided in CHECKS, each a reason to refuse: no head that was not measured, nothing trained
on pictures that must not ship, no figure of other files than these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx

from calibration import build, evidence, folders, golden, toml
from calibration.build import Build, head_of, sha256
from calibration.card import Description, card
from calibration.encodings import ENCODINGS, FILES
from calibration.eval.runner import POLYP
from calibration.evidence import Evaluation
from calibration.halves import halved
from edge import golden as verifying
from edge import model
from edge.config import decode_toml
from edge.errors import ModelError
from edge.infer import onnx as backend
from edge.types import Manifest, Model, ModelFile, ModelHead, Precision

MOST_BYTES = 8_000_000  # of one file
MOST_LOST = 0.005  # Dice, from FP32 to INT8
OF_NO_HEAD = ("thumbnail", "detail", "features")  # outputs that the box's quality head reads, or later heads stand on
HEADLINE = {
    "segment": "dice",
    "classify": "balanced_accuracy",
    "ordinal": "qwk",
    "dense": "abs_rel",
}  # by a head's kind
GOLDEN, TOML, CARD = "golden.npz", "model.toml", "MODEL_CARD.md"


@dataclass(frozen=True)
class Candidate:
    """What asks to be released. `files` are as they will be written."""

    words: Description
    build: Build
    files: Mapping[Precision, bytes]
    evaluations: Sequence[Evaluation]

    @property
    def heads(self) -> list[ModelHead]:
        polyp = ModelHead(name=POLYP, output=POLYP, kind="segment", labels=self.words.labels)
        return [polyp, *map(head_of, self.build.records)]


def release(description: Path, folder: Path, evaluations: Sequence[Path], models: Path) -> Path:
    """Write `models/NAME/`, NAME being the description's file, in one step. Raises ModelError, with nothing changed.

    `folder` is the build, `evaluations` are files of what `eval --json` printed of it.
    """
    words, made = decode_toml(description, Description, error=ModelError), build.read(folder)
    files = {**made.files, "fp32": as_halves(made.files["fp32"])}
    candidate = Candidate(words, made, files, [line for path in evaluations for line in evidence.read(path)])
    for objection in (objection for check in CHECKS for objection in check(candidate)):
        raise ModelError(f"{folder}: not released: {objection}")
    with folders.replaced(models / description.stem) as new:
        _write(candidate, description.stem, new)
    return models / description.stem


def as_halves(content: bytes) -> bytes:
    """fp32.onnx with its weights stored as float16, where that loses nothing; untouched if they are already."""
    whole = onnx.load_model_from_string(content)
    small = halved(whole)
    return content if small == whole else small.SerializeToString()


def _write(candidate: Candidate, name: str, folder: Path) -> None:
    for precision in FILES:
        (folder / FILES[precision]).write_bytes(candidate.files[precision])
    vectors = golden.written(candidate.files, golden.frames(candidate.build.input.shape[1]), folder / GOLDEN)
    manifest = Manifest(
        name=name,
        version=candidate.words.version,
        labels=candidate.words.labels,
        licence=candidate.words.licence,
        training_data=candidate.words.training_data,
        files={p: ModelFile(path=FILES[p], sha256=sha256(candidate.files[p])) for p in FILES},
        input=candidate.build.input,
        outputs=list(candidate.build.outputs),
        heads=candidate.heads,
        measured=[row for line in candidate.evaluations for row in evidence.measurements(line, name)],
        golden=vectors,
    )
    for fault in model.faults(manifest):
        raise ModelError(f"{candidate.build.folder}: not released: {fault}")
    (folder / TOML).write_text(toml.dumps(msgspec.to_builtins(manifest)), encoding="utf-8")
    worse = [row for line in candidate.evaluations for row in evidence.robustness(line, name)]
    (folder / CARD).write_text(card(manifest, candidate.words, candidate.build, worse), encoding="utf-8")
    for precision in FILES:
        _prove(model.load(folder, precision))


def _prove(loaded: Model) -> None:
    """The folder is one that the box takes, and answers as it says."""
    for difference in verifying.differences(loaded, backend.open(backend.Config(), loaded)):
        if not difference.fits:
            raise ModelError(f"{loaded.path}: its own golden vectors do not fit it: {difference}")


# ---------------------------------------------------------------------------------------------- refusals


def _may_ship(candidate: Candidate) -> Iterator[str]:
    run = candidate.build.run
    if run.development:
        yield f"the run of recipe {run.recipe} may have seen pictures that must not ship (development = true)"
    for record in candidate.build.records:
        if record.development:
            yield f"head {record.name} is for development only: {record.why}"


def _every_output_is_explained(candidate: Candidate) -> Iterator[str]:
    of_heads = {head.output for head in candidate.heads}
    for output in candidate.build.outputs:
        if output.name not in of_heads and output.name not in OF_NO_HEAD:
            yield f"output {output.name} is of no head: heads/{output.name}.json is missing"


def _every_figure_is_of_these_files(candidate: Candidate) -> Iterator[str]:
    for line in candidate.evaluations:
        if line.saw_training_pictures:
            yield f"the figures on {line.dataset} are of pictures that were trained on: {line.command}"
        for encoding in line.encodings:
            precision = ENCODINGS.get(encoding)
            if precision is None:
                yield f"the figures on {line.dataset} are of an unknown encoding {encoding}"
                continue
            mine, theirs = sha256(candidate.build.files[precision]), line.files.get(encoding, "no file")
            if mine != theirs:
                yield (
                    f"{FILES[precision]} is not the file that was measured on {line.dataset}: its sha256 is"
                    f" {mine[:12]}…, the figures are of {theirs[:12]}…; run eval again"
                )


def _every_head_is_measured(candidate: Candidate) -> Iterator[str]:
    for head in candidate.heads:
        for encoding in ENCODINGS:
            if all(figure(line, encoding, head) is None for line in candidate.evaluations):
                yield f"head {head.name} has no {HEADLINE[head.kind]} of {encoding} in any evaluation: measure it first"


def _labels_agree(candidate: Candidate) -> Iterator[str]:
    for head in candidate.heads:
        for line in candidate.evaluations:
            for encoding in line.encodings:
                labels = line.of_head(encoding, head.name).get("labels", head.labels)
                if labels != head.labels:
                    yield f"head {head.name} has labels {head.labels}, {line.dataset} was judged by {labels}"


def _int8_keeps_up(candidate: Candidate) -> Iterator[str]:
    polyp = candidate.heads[0]
    for line in candidate.evaluations:
        reference = figure(line, "fp32", polyp)
        for encoding in (name for name in ENCODINGS if name != "fp32"):
            dice = figure(line, encoding, polyp)
            if dice is not None and reference is not None and dice < reference - MOST_LOST:
                yield (
                    f"{encoding} loses {reference - dice:.4f} Dice on {line.dataset} ({dice:.4f} against FP32's"
                    f" {reference:.4f}); at most {MOST_LOST} is allowed"
                )


def _files_are_small(candidate: Candidate) -> Iterator[str]:
    for precision, content in candidate.files.items():
        if len(content) > MOST_BYTES:
            yield (
                f"{FILES[precision]} has {len(content) / 1e6:.1f} MB, at most {MOST_BYTES / 1e6:.0f} are allowed"
                + (" (are its weights float16 numbers? halves.rounded makes them so)" if precision == "fp32" else "")
            )


def figure(line: Evaluation, encoding: str, head: ModelHead) -> float | None:
    """The figure that a head of this kind is judged by, or None where the evaluation has none."""
    report = line.encodings.get(encoding, {}) if head.kind == "segment" else line.of_head(encoding, head.name)
    value = report.get(HEADLINE[head.kind])
    return value if evidence.is_figure(value) else None


CHECKS: tuple[Callable[[Candidate], Iterator[str]], ...] = (
    _may_ship,
    _every_output_is_explained,
    _every_figure_is_of_these_files,
    _every_head_is_measured,
    _labels_agree,
    _int8_keeps_up,
    _files_are_small,
)
