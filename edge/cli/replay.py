"""Analyse a clip as fast as it goes and say how well it went: delays, missed polyps, false alerts, two pictures.

The same clip gives the same events at any speed, since every rule runs on the clip's own time. Truth files are what the
phantom writes beside its clips (JSON lines).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from ulid import ULID

from edge import core, model, paths
from edge.capture import file as file_source
from edge.cli import assemble, numbers, pictures, scoring
from edge.cli.scoring import KnownClip, Scene
from edge.cli.words import say
from edge.config import PipelineConfig
from edge.decide.config import RulesConfig
from edge.decide.rules import Rules
from edge.errors import CaptureError
from edge.infer import onnx
from edge.ledger import InMemory, Ledger
from edge.messages import Alert, Event
from edge.phantom import read_truth
from edge.timing import Stages
from edge.types import Findings, Frame, Gap, Model, SignalState, SourceStats

HELP = "analyse a clip, compare with its truth, draw contact sheet and timeline"
REGULAR_TILES = 12
ALERT_TILES = 24


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", type=Path)
    parser.add_argument("--truth", type=Path, metavar="FILE", help="the phantom's truth file (JSON lines)")
    parser.add_argument("--field", choices=["auto", "whole"], default="auto", help="whole: the clip has no border")
    parser.add_argument("--pipeline", default="colonoscopy", metavar="NAME")
    parser.add_argument("--pictures", type=Path, default=Path(), metavar="DIR", help="where the pictures go (here)")
    parser.add_argument("--threads", type=numbers.count, default=1, metavar="N")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")


def main(options: argparse.Namespace) -> int:
    console = Console(stderr=options.json)
    truth = KnownClip(*read_truth(options.truth)) if options.truth else None
    pipeline_file = paths.data_dir("pipelines") / f"{options.pipeline}.toml"
    pipeline, rules = assemble.load_pipeline(pipeline_file)
    loaded = model.load(paths.data_dir("models") / pipeline.model)
    clip = file_source.Config(path=str(options.clip), rate="max", field=options.field)
    record = analyse(clip, pipeline, rules, loaded, options.threads, console)
    result = scoring.score(record.scenes, record.events, truth)
    options.pictures.mkdir(parents=True, exist_ok=True)
    stem = options.clip.stem
    sheet, timeline = options.pictures / f"{stem}-sheet.png", options.pictures / f"{stem}-timeline.png"
    pictures.contact_sheet(record.tiles(), sheet)
    pictures.timeline(record.scenes, record.events, truth, timeline)
    _print(console, options.clip, result, record, sheet, timeline)
    if options.json:
        print(json.dumps(msgspec.to_builtins(result) | {"contact_sheet": str(sheet), "timeline": str(timeline)}))
    if record.broken:
        raise CaptureError(record.broken)
    return 0


class Record:
    """What a replay saw: findings and events of every frame, small pictures of a few."""

    def __init__(self, expected_frames: int, events: list[Event]) -> None:
        self.scenes: list[Scene] = []
        self.events = events
        self.broken = ""
        self._picture: pictures.Picture | None = None
        self._regular_every = max(1, expected_frames // REGULAR_TILES)
        self._tiles: list[pictures.Tile] = []
        self._alert_tiles = 0

    def keep_picture(self, frame: Frame) -> None:
        self._picture = pictures.Picture(np.array(frame.image)[:, :, :3], frame.field)

    def report(self, moment: Gap | Findings, events: Sequence[Event]) -> None:
        if isinstance(moment, Gap):
            if moment.final and moment.state is SignalState.FAILED:
                self.broken = moment.detail
            return
        self.scenes.append(Scene(moment=moment, events=tuple(events)))
        alerts = [event for event in events if isinstance(event, Alert)]
        regular = (len(self.scenes) - 1) % self._regular_every == 0
        room = self._alert_tiles < ALERT_TILES if alerts else regular
        if room and self._picture is not None:
            self._alert_tiles += bool(alerts)
            self._tiles.append(pictures.Tile(self._picture, moment, alerts))

    def tiles(self) -> list[pictures.Tile]:
        return self._tiles


class Recorder:
    """A source that shows each frame to a record before lending it on."""

    def __init__(self, source: file_source.FileSource, record: Record) -> None:
        self._source, self._record = source, record
        self.waited_ns = 0

    def next(self, timeout_s: float) -> Frame | Gap:
        frame = self._source.next(timeout_s)
        self.waited_ns = self._source.waited_ns
        if isinstance(frame, Frame):
            self._record.keep_picture(frame)
        return frame

    def stats(self) -> SourceStats:
        return self._source.stats()

    def close(self) -> None:
        self._source.close()


def analyse(
    clip: file_source.Config,
    pipeline: PipelineConfig,
    rules: RulesConfig,
    loaded: Model,
    threads: int,
    console: Console,
) -> Record:
    """Every frame of `clip`, none dropped."""
    backend = onnx.open(onnx.Config(threads=threads), loaded)
    heads = assemble.fit_heads(pipeline, rules, loaded.manifest)
    source = file_source.open(clip, loaded.size)
    store = InMemory()
    record = Record(source.expected_frames, store.events)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(Path(clip.path).name, total=source.expected_frames or None)

        def report(moment: Gap | Findings, events: Sequence[Event]) -> None:
            record.report(moment, events)
            progress.update(bar, completed=len(record.scenes))

        recorder, judge = Recorder(source, record), Rules(rules, run_id=str(ULID()))
        try:
            core.run(
                recorder, backend, heads, judge, Ledger(lambda: store), Stages(core.STAGES), report, stop=lambda: False
            )
        finally:
            source.close()
            backend.close()
    return record


def _print(console: Console, clip: Path, result: scoring.Score, record: Record, sheet: Path, timeline: Path) -> None:
    table = Table(title=f"{clip.name}: {result.frames} frames, {result.minutes:.2f} min")
    table.add_column("polyp")
    table.add_column("Paris")
    table.add_column("appears", justify="right")
    table.add_column("in view", justify="right")
    table.add_column("first detection", justify="right")
    table.add_column("alert", justify="right")
    for polyp in result.polyps:
        table.add_row(
            str(polyp.id),
            polyp.paris,
            f"{polyp.appears_s:.2f} s",
            f"{polyp.visible_s:.2f} s",
            _delay(polyp.detection_delay_ms),
            _delay(polyp.alert_delay_ms),
        )
    if result.polyps:
        console.print(table)
        console.print(
            f"polyps {len(result.polyps)}, missed {result.missed}, median delay to first detection"
            f" {_delay(result.median_detection_delay_ms)}, to the alert {_delay(result.median_alert_delay_ms)}"
        )
    false = (
        "" if result.false_alerts is None else f", false {result.false_alerts} ({result.false_per_minute:.2f} / min)"
    )
    console.print(f"polyp alerts {result.alerts}{false}; all events {len(record.events)}")
    told: tuple[Event, ...] = (*result.landmarks, *result.judgements)
    for event in told:
        console.print(say(event), highlight=False)
    console.print(f"contact sheet {sheet}\ntimeline      {timeline}", soft_wrap=True, highlight=False)


def _delay(milliseconds: float | None) -> str:
    return "missed" if milliseconds is None else f"+{milliseconds:.0f} ms"
