"""One model, all its encodings, on whatever it is asked to be judged by. Every result has the same keys:

{"dataset": NAME, "n": pictures or frames, "encodings": {"fp32" | "int8_cpu" | "int8_trt" | "fp16_trt": {figures}}}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from calibration import fuse
from calibration.build import head_of
from calibration.encodings import FILE_OF
from calibration.eval import files, video, walk
from calibration.eval.failures import Failure
from calibration.eval.runner import POLYP, opened
from calibration.eval.segmentation import Report
from calibration.eval.subjects import Subject
from calibration.eval.walk import Judge, Progress, Teacher
from edge import paths
from edge.cli import assemble
from edge.cli.scoring import KnownClip
from edge.config import PipelineConfig, decode, read_toml
from edge.decide.config import RulesConfig
from edge.errors import EdgeError, ModelError, UsageError
from edge.heads import Heads, open_all, segment
from edge.types import ModelHead, Struct, TensorSpec

WORST = 12  # pictures kept for the page

Say = Callable[[str], None]


class _Heads(Struct, frozen=True, kw_only=True):
    heads: list[ModelHead]


@dataclass(frozen=True)
class Result:
    """Figures of one set, and the pictures that went worst."""

    report: Report
    failures: Sequence[Failure] = ()


class Evaluation:
    """A model folder, opened. `command` is what a person would type for that one result."""

    def __init__(self, folder: Path, pipeline: str, say: Say, threads: int = 1) -> None:
        """`say` is told what is left out. Raises ModelError, ConfigError, UsageError (no such pipeline)."""
        self.folder, self._say = folder, say
        self.runners = opened(folder, threads)
        missing = [f"{file} ({name})" for name, file in FILE_OF.items() if name not in self.runners]
        if missing:
            say(f"{folder} has no {' nor '.join(missing)}: left out")
        self.outputs = next(iter(self.runners.values())).outputs
        for runner in self.runners.values():
            if runner.outputs != self.outputs:
                raise ModelError(
                    f"{runner.name}: its outputs differ from those of {next(iter(self.runners.values())).name}"
                )
        self._named = named_heads(folder)
        self._pipeline, self._rules = shipped(pipeline)
        self.judge = Judge(self.runners, segment_of(self._pipeline, self.outputs), self._named)

    def pictures(
        self,
        command: str,
        subject: Subject,
        progress: Progress,
        *,
        robustness: bool = False,
        teacher: Teacher | None = None,
    ) -> Result:
        """A set of pictures: segmentation, naming heads, videos where the pictures are frames of some."""
        for head in self.judge.check(subject):
            self._say(f"{subject.name} has labels for {head}, the model has no such head: left out")
        walks = self.judge.walk(subject, progress, teacher)
        encodings = walk.reports(walks, self.judge.heads)
        for name, report in self._clips(subject, progress).items():
            encodings[name]["video"] = report
        if robustness:
            for name, rows in self.judge.robustness(subject, progress).items():
                encodings[name]["robustness"] = rows
        failures = walk.worst(walks, subject, self.runners, WORST)
        return Result(self._result(command, subject.name, len(subject.cases), encodings), failures)

    def video(self, command: str, name: str, path: Path, truth: KnownClip, progress: Progress) -> Result:
        """A video file at the shipped operating point, and the curve behind it."""
        seen = video.watched(path, self.runners, self._heads(), truth, progress)
        encodings = {encoding: video.report(encoding, [clip], self._rules) for encoding, clip in seen.items()}
        return Result(self._result(command, name, next(iter(encodings.values()))["frames"], encodings))

    def speed(self, command: str) -> Result:
        return Result(self._result(command, "speed", files.ROUNDS, files.speed(self.folder, self.runners)))

    def _clips(self, subject: Subject, progress: Progress) -> dict[str, Report]:
        clips = subject.clips
        if not clips or self.judge.segment is None:
            return {}
        seen = [video.watched_frames(frames, self.runners, self._heads(), progress) for frames in clips.values()]
        return {name: video.report(name, [clip[name] for clip in seen], self._rules) for name in self.runners}

    def _result(self, command: str, name: str, n: int, encodings: dict[str, Report]) -> Report:
        digests = {encoding: runner.sha256 for encoding, runner in self.runners.items()}
        return {"dataset": name, "n": n, "command": command, "files": digests, "encodings": encodings}

    def _heads(self) -> Heads:
        return open_all(self._pipeline.heads, self.outputs, self._named)


def named_heads(folder: Path) -> list[ModelHead]:
    """`[[heads]]` of the folder's model.toml; of a build that is not released yet, what `add-head` wrote."""
    toml = folder / "model.toml"
    if not toml.is_file():
        return [head_of(record) for record in fuse.records(folder)]
    table = {"heads": read_toml(toml, ModelError).get("heads", [])}
    return decode(table, _Heads, str(toml), error=ModelError).heads


def shipped(name: str) -> tuple[PipelineConfig, RulesConfig]:
    """A pipeline of `pipelines/` with the rules it ships."""
    folder = paths.data_dir("pipelines")
    file = folder / f"{name}.toml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.toml"))) or "none"
        raise UsageError(f"--pipeline {name}: no such pipeline; {folder} has: {known}")
    return assemble.load_pipeline(file)


def segment_of(pipeline: PipelineConfig, outputs: tuple[TensorSpec, ...]) -> segment.Segment | None:
    """The pipeline's own polyp head on a model; None for a model that marks no polyps."""
    if POLYP not in [output.name for output in outputs]:
        return None
    table = next((t for t in pipeline.heads if t.get("kind") == "segment" and t.get("output", POLYP) == POLYP), {})
    config = msgspec.convert({key: value for key, value in table.items() if key != "kind"}, segment.Config)
    return segment.open(config, outputs)


def truth_of(path: Path) -> KnownClip:
    try:
        return video.truth_beside(path)
    except EdgeError as exc:
        raise type(exc)(f"--video needs the clip's truth beside it, or use --negative-video: {exc}") from exc
