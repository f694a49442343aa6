"""A landmark and a verdict through the whole path: from a clip to the replay's lines, its JSON and its picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from edge import model
from edge.capture import file
from edge.cli import assemble, pictures, replay, scoring
from edge.cli.words import say
from edge.messages import Judged, LandmarkReached, ProcedureEnded
from tests.support import classes, clips, models

FPS, GREEN_FROM, GREEN_TO, FRAMES = 25, 70, 100, 120


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> replay.Record:
    folder = tmp_path_factory.mktemp("classes")
    clip = clips.encode(clips.with_field(FRAMES, polyp_from=GREEN_FROM, polyp_to=GREEN_TO), folder / "clip.mkv", FPS)
    loaded = model.load(classes.build(folder / "model"))
    pipeline_file = folder / "colonoscopy.toml"
    pipeline_file.write_text(models.tables() + classes.TABLES + "min_views = 40\n", encoding="utf-8")
    pipeline, rules = assemble.load_pipeline(pipeline_file)
    return replay.analyse(file.Config(path=str(clip), rate="max"), pipeline, rules, loaded, 1, Console(quiet=True))


def test_the_caecum_is_reached_once_while_it_is_in_view(record: replay.Record) -> None:
    (event,) = [event for event in record.events if isinstance(event, LandmarkReached)]
    assert event.kind == "caecum"
    assert GREEN_FROM <= event.first_seen_ns * FPS / 1e9 <= GREEN_FROM + 6
    assert event.first_seen_ns < event.media_ns < GREEN_TO / FPS * 1e9
    assert event.best_score > 0.95
    assert event.after_ns == event.first_seen_ns  # the clip begins inside


def test_the_verdict_comes_before_the_end(record: replay.Record) -> None:
    (place,) = [place for place, event in enumerate(record.events) if isinstance(event, Judged)]
    event = record.events[place]
    assert isinstance(event, Judged)
    assert isinstance(record.events[place + 1], ProcedureEnded)
    assert event.label == "adequate"
    assert event.shares == {"adequate": 1.0}
    assert 60 <= event.views <= 75  # the first 2 s are not yet a procedure
    assert event.unsure == 0


def test_what_a_person_reads(record: replay.Record, tmp_path: Path) -> None:
    result = scoring.score(record.scenes, record.events, None)
    (landmark,), (judgement,) = result.landmarks, result.judgements
    assert say(landmark) == "caecum reached at 3.0 s, 3.0 s after the procedure began (best score 1.00)"
    assert say(judgement) == f"preparation: adequate (adequate 100% of {judgement.views} good views, 0 unsure)"
    pictures.timeline(record.scenes, record.events, None, tmp_path / "timeline.png")
    colours = {colour for _, colour in Image.open(tmp_path / "timeline.png").getcolors(10**6) or []}
    assert pictures.LANDMARK in colours
