"""One walk over a set: every picture decoded once, shown to every encoding, judged by what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from calibration.eval import classes, segmentation
from calibration.eval.bootstrap import Resampler
from calibration.eval.detection import matched, whole
from calibration.eval.failures import Failure
from calibration.eval.overlap import overlap
from calibration.eval.robustness import CORRUPTIONS, STRENGTHS, corrupted
from calibration.eval.runner import POLYP, RUNTIME, Outputs, Runner
from calibration.eval.segmentation import Judged, Report
from calibration.eval.subjects import Case, Subject
from calibration.pictures import DatasetError, Picture, Sample
from edge.errors import ModelError
from edge.heads.segment import Segment
from edge.types import ModelHead

ROBUSTNESS_OF = ("fp32", "int8_cpu")  # int8_trt has int8_cpu's numbers, and takes ONNX Runtime several times as long

Progress = Callable[[int, int], None]
Teacher = Callable[[Sample], Picture]  # its soft mask, probability x 255, uint8 (H, W)


@dataclass
class Named:
    """What one encoding said for one head, picture by picture, and what is true."""

    said: list[list[float]] = field(default_factory=list)
    true: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


@dataclass
class Walk:
    """What was seen of one set by one encoding."""

    judged: list[Judged] = field(default_factory=list)
    named: dict[str, Named] = field(default_factory=dict)

    def figures(self, heads: Mapping[str, ModelHead]) -> Report:
        found: Report = {}
        if self.judged:
            found |= segmentation.report(self.judged, Resampler([j.group for j in self.judged]))
        if self.named:
            found["heads"] = {
                name: classes.report(heads[name], np.array(n.said), n.true, n.groups) for name, n in self.named.items()
            }
        return found


class Judge:
    """The encodings of a model and how their outputs are read. `heads`: those that name something, by name."""

    def __init__(self, runners: Mapping[str, Runner], segment: Segment | None, heads: Sequence[ModelHead]) -> None:
        self.runners = dict(runners)
        self.segment = segment
        self.heads = {head.name: head for head in heads if head.kind in classes.READERS}

    def check(self, subject: Subject) -> list[str]:
        """Before anything runs: can this model be judged on this set? Returns labels it has no head for.

        Raises ModelError when nothing of the set concerns the model, DatasetError when a label is none of its head's.
        """
        known = {head for case in subject.cases for head in case.labels}
        located = any(case.located for case in subject.cases)
        if not located and not known:
            raise DatasetError(f"{subject.name}: nothing is known of its pictures, neither polyps nor labels")
        missing = sorted(known - set(self.heads))
        if not (located and self.segment) and missing == sorted(known):
            wanted = [*missing, *([POLYP] if located else [])]
            raise ModelError(f"{subject.name} is for heads the model does not have: {', '.join(wanted)}")
        for case in subject.cases:
            for name, label in case.labels.items():
                if name in self.heads and label not in self.heads[name].labels:
                    raise DatasetError(
                        f"{case.name}: label {name} = {label!r}; the model's are: {', '.join(self.heads[name].labels)}"
                    )
        return missing

    def walk(self, subject: Subject, progress: Progress, teacher: Teacher | None = None) -> dict[str, Walk]:
        """Every picture of the set through every encoding."""
        walks = {name: Walk() for name in self.runners}
        for place, case in enumerate(subject.cases):
            sample = case.load()
            soft = teacher(sample) if teacher and case.masked else None
            for name, runner in self.runners.items():
                outputs = runner.infer(runner.frame(sample.picture))
                if case.located and self.segment is not None:
                    walks[name].judged.append(_with_teacher(self._judged(case, sample, outputs), sample, soft))
                self._hear(case, outputs, walks[name])
            progress(place + 1, len(subject.cases))
        return walks

    def _judged(self, case: Case, sample: Sample, outputs: Outputs) -> Judged:
        assert self.segment is not None
        if case.masked:
            return segmentation.judge(outputs[POLYP], sample, case.group, self.segment)
        found = self.segment.decode(outputs, whole(sample.picture))
        return segmentation.judge_boxes(*matched(case.lesions_in(sample), found), case.name, case.group)

    def _hear(self, case: Case, outputs: Outputs, walk: Walk) -> None:
        for name in set(case.labels) & set(self.heads):
            head = self.heads[name]
            named = walk.named.setdefault(name, Named())
            named.said.append(classes.probabilities(outputs[head.output], head))
            named.true.append(head.labels.index(case.labels[name]))
            named.groups.append(case.group)

    def robustness(self, subject: Subject, progress: Progress) -> dict[str, list[Report]]:
        """Mean Dice of the pictures with polyps, made worse in every way, at every strength; by encoding."""
        runners = {name: self.runners[name] for name in ROBUSTNESS_OF if name in self.runners}
        dices: dict[tuple[str, str, int], list[float]] = {}
        groups: list[str] = []
        cases = [case for case in subject.cases if case.masked]
        for place, case in enumerate(cases):
            sample = case.load()
            if sample.mask.any():
                groups.append(case.group)
                for corruption in CORRUPTIONS:
                    for strength in STRENGTHS:
                        picture = corrupted(sample.picture, sample.name, corruption, strength)
                        for name, runner in runners.items():
                            dice = overlap(runner.logits(picture) > 0, sample.mask > 0).dice
                            dices.setdefault((name, corruption, strength), []).append(dice)
            progress(place + 1, len(cases))
        draws = Resampler(groups)
        tables: dict[str, list[Report]] = {name: [] for name in runners}
        for (name, corruption, strength), values in dices.items():
            figure = draws.ratio(values, np.ones(len(values)))
            row = {"corruption": corruption, "strength": strength, **segmentation.flat("dice", figure)}
            tables[name].append(row)
        return tables


def reports(walks: Mapping[str, Walk], heads: Mapping[str, ModelHead]) -> dict[str, Report]:
    """The figures of every encoding, and how they differ from FP32's on the same pictures."""
    found: dict[str, Report] = {}
    for name, walk in walks.items():
        found[name] = {"runtime": RUNTIME[name], **walk.figures(heads)}
        draws = Resampler([j.group for j in walk.judged])
        if name != "fp32" and "fp32" in walks and walk.judged:
            found[name] |= segmentation.difference(walk.judged, walks["fp32"].judged, draws)
        if any(j.teacher is not None for j in walk.judged):
            found[name] |= segmentation.beside_teacher(walk.judged, draws)
    return found


def worst(walks: Mapping[str, Walk], subject: Subject, runners: Mapping[str, Runner], count: int) -> list[Failure]:
    """The pictures with the lowest Dice, as the INT8 file marks them where there is one."""
    name = next(name for name in ("int8_cpu", "int8_trt", "fp32") if name in walks)
    located = [case for case in subject.cases if case.located]
    scored = [(j.overlap.dice, place) for place, j in enumerate(walks[name].judged) if j.overlap is not None]
    failures = []
    for dice, place in sorted(scored)[:count]:
        sample = located[place].load()
        found = np.where(runners[name].logits(sample.picture) > 0, 255, 0).astype(np.uint8)
        failures.append(Failure(located[place].name, dice, sample.picture, sample.mask, found))
    return failures


def _with_teacher(judged: Judged, sample: Sample, soft: Picture | None) -> Judged:
    return judged if soft is None else replace(judged, teacher=overlap(soft >= 128, sample.mask > 0).dice)
