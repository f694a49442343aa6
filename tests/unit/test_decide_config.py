"""The rules' numbers: what is refused, and the pipelines that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.config import PipelineConfig, decode_toml
from edge.decide.config import AlertRow, ProcedureConfig, RulesConfig, TrackRow, TracksConfig, ViewConfig
from edge.decide.rules import Rules
from edge.heads import open_all
from edge.types import TensorSpec

PIPELINES = sorted((Path(__file__).parents[2] / "pipelines").glob("*.toml"))
MODEL = (
    TensorSpec(name="polyp", dtype="float32", shape=(1, 1, 128, 128)),
    TensorSpec(name="thumbnail", dtype="float32", shape=(1, 3, 32, 32)),
    TensorSpec(name="detail", dtype="float32", shape=(1, 1, 32, 32)),
)


def row(**changes: Any) -> dict[str, Any]:
    return {"kind": "polyp", "when": "track", "label": "polyp", "priority": "low", "text": "a polyp", **changes}


def test_there_are_pipelines() -> None:
    assert {path.stem for path in PIPELINES} >= {"colonoscopy", "gastroscopy"}


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_a_shipped_pipeline_is_complete(path: Path) -> None:
    """It opens, its name is its file's, and every row of its table is about something that a head says."""
    pipeline = decode_toml(path, PipelineConfig)
    assert pipeline.name == path.stem
    open_all(pipeline.heads, MODEL)
    tables = {name: getattr(pipeline, name) for name in ("tracks", "view", "procedure", "alerts")}
    config = msgspec.convert(tables, RulesConfig)
    Rules(config, "run")
    labels = {head.get("label") for head in pipeline.heads}
    assert {row.label for row in config.alerts if isinstance(row, TrackRow)} <= labels


@pytest.mark.parametrize(
    ("kind", "table", "words"),
    [
        (TracksConfig, {"confirm": 7, "window": 6}, "confirm = 7 can never be reached within window = 6"),
        (TracksConfig, {"confirm": 0}, "`int` >= 1.*confirm"),
        (TracksConfig, {"window": 65}, "`int` <= 64.*window"),
        (TracksConfig, {"start_score": 1.5}, "<= 1.0.*start_score"),
        (TracksConfig, {"end_after_s": float("nan")}, "end_after_s"),
        (TracksConfig, {"confrim": 3}, "confrim"),
        (ViewConfig, {"hold_s": -1.0}, ">= 0.0.*hold_s"),
        (ProcedureConfig, {"stop_s": "30"}, "`float`, got `str`.*stop_s"),
        (AlertRow, row(text="{labl}"), "text = '{labl}' may only use {label}, {track}, {score}"),
        (AlertRow, row(text="{"), "may only use"),
        (AlertRow, row(text="{}"), "may only use"),
        (AlertRow, row(text="{track.__class__}"), "may only use"),
        (AlertRow, row(text="{label:d}"), "may only use"),
        (AlertRow, row(kind="Big Polyp"), "regex.*kind"),
        (AlertRow, row(when="moon"), "moon"),
        (AlertRow, row(states=["poor"]), "states"),
        (AlertRow, {"when": "view", "kind": "v", "priority": "low", "text": "{track}", "states": ["poor"]}, "{state}"),
        (AlertRow, {"when": "view", "kind": "v", "priority": "low", "text": "v", "states": []}, "length >= 1.*states"),
        (AlertRow, {"when": "signal", "kind": "s", "priority": "low", "text": "s", "states": ["poor"]}, "poor"),
        (RulesConfig, {"alerts": [row(), row()]}, 'kind = "polyp" is there twice'),
    ],
)
def test_refused(kind: Any, table: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(table, kind)


def test_text_may_format_its_words() -> None:
    assert msgspec.convert(row(text="{label} {track}: {score:.0%}"), AlertRow).text
