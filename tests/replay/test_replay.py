"""A clip through the whole path, faster than real time: the same events every time, and pictures worth looking at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from edge import model, paths
from edge.capture import file
from edge.cli import pictures, replay, scoring
from edge.messages import Alert, AlertCleared, FindingEnded, ProcedureEnded, ProcedureStarted, SignalChanged
from tests.support import clips, models


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = clips.with_field(120, polyp_from=70, polyp_to=100)
    return clips.encode(frames, tmp_path_factory.mktemp("clip") / "clip.mkv")


@pytest.fixture(scope="module")
def record(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> replay.Record:
    return analyse(clip, models.build(tmp_path_factory.mktemp("model")))


def analyse(clip: Path, folder: Path) -> replay.Record:
    pipeline, rules = models.pipeline(folder.with_name(f"{folder.name}-pipelines"))
    return replay.analyse(
        file.Config(path=str(clip), rate="max"), pipeline, rules, model.load(folder), 1, Console(quiet=True)
    )


def test_the_story_is_told_once_and_in_order(record: replay.Record) -> None:
    told = [type(event) for event in record.events if not isinstance(event, SignalChanged)]
    wanted = [ProcedureStarted, Alert, FindingEnded, AlertCleared, ProcedureEnded]
    assert [kind for kind in told if kind in wanted] == wanted
    assert len(record.scenes) == 120


def test_the_alert_marks_the_spot(record: replay.Record) -> None:
    alert = next(event for event in record.events if isinstance(event, Alert))
    assert alert.box is not None
    x, y = (alert.box[0] + alert.box[2]) / 2, (alert.box[1] + alert.box[3]) / 2
    assert abs(x - 120) < 6  # 0.6 of 200
    assert abs(y - 72) < 6  # 0.45 of 160
    assert 70 * 0.04 <= alert.media_ns / 1e9 < 70 * 0.04 + 0.4


def test_a_finding_has_its_scores_over_time(record: replay.Record) -> None:
    """The best is its best score; the last is of when it was last seen."""
    finding = next(event for event in record.events if isinstance(event, FindingEnded))
    assert max(finding.scores) == pytest.approx(finding.best_score, abs=0.001)
    assert finding.scores_every_ns == 250_000_000
    assert len(finding.scores) == (finding.media_ns - finding.first_seen_ns) // finding.scores_every_ns + 1
    assert min(finding.scores) > 0.5  # in view all the time


def test_the_same_clip_gives_the_same_events(
    clip: Path, record: replay.Record, tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = analyse(clip, models.build(tmp_path_factory.mktemp("again")))

    def story(events: object) -> list[tuple[str, int]]:
        return [(type(event).__name__, event.media_ns) for event in events]  # type: ignore[attr-defined]

    assert story(again.events) == story(record.events)
    assert [scene.moment.detections for scene in again.scenes] == [scene.moment.detections for scene in record.scenes]


def test_pictures(record: replay.Record, tmp_path: Path) -> None:
    pictures.contact_sheet(record.tiles(), tmp_path / "sheet.png")
    pictures.timeline(record.scenes, record.events, None, tmp_path / "timeline.png")
    sheet, timeline = Image.open(tmp_path / "sheet.png"), Image.open(tmp_path / "timeline.png")
    assert sheet.width == pictures.COLUMNS * pictures.TILE_PX
    assert timeline.width == pictures.WIDTH
    colours = {colour for _, colour in timeline.getcolors(10**6) or []}
    assert pictures.ALARM in colours
    assert pictures.BOX in colours
    alerts = {colour for _, colour in sheet.getcolors(10**6) or []}
    assert pictures.ALARM in alerts


def test_pictures_of_nothing(tmp_path: Path) -> None:
    pictures.contact_sheet([], tmp_path / "sheet.png")
    pictures.timeline([], [], None, tmp_path / "timeline.png")
    assert scoring.score([], [], None).frames == 0


def test_command_line_on_a_clip_of_its_own(clip: Path, tmp_path: Path) -> None:
    """The released model on a green dot: no claim about alerts, but a whole run, pictures and one JSON line."""
    if not (paths.data_dir("models") / "polyp-mobilenetv2-256" / "model.toml").is_file():
        pytest.skip("no released model in models/")
    done = subprocess.run(
        [sys.executable, "-m", "edge.cli", "replay", str(clip), "--pictures", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["frames"] == 120
    assert Path(result["contact_sheet"]).is_file()
    assert Path(result["timeline"]).is_file()
