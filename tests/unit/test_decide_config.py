"""The rules' numbers: what is refused, and the pipelines that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge import model
from edge.cli import assemble
from edge.decide.config import (
    AlertRow,
    JudgementRow,
    LandmarkRow,
    ProcedureConfig,
    RulesConfig,
    TracksConfig,
    ViewConfig,
)
from edge.decide.rules import Rules

PIPELINES = sorted((Path(__file__).parents[2] / "pipelines").glob("*.toml"))


def row(**changes: Any) -> dict[str, Any]:
    return {"kind": "polyp", "when": "track", "label": "polyp", "priority": "low", "text": "a polyp", **changes}


def landmark(**changes: Any) -> dict[str, Any]:
    return {"kind": "caecum", "head": "landmark", "label": "caecum", **changes}


def test_there_are_pipelines() -> None:
    assert {path.stem for path in PIPELINES} >= {"colonoscopy", "gastroscopy"}


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_a_shipped_pipeline_is_complete(path: Path) -> None:
    """It opens, its name is its file's, and every row of its table is about something that a head says."""
    pipeline, rules = assemble.load_pipeline(path)
    assert pipeline.name == path.stem
    loaded = model.load(path.parents[1] / "models" / pipeline.model)
    assemble.fit_heads(pipeline, rules, loaded.manifest)
    Rules(rules, "run")


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
        (LandmarkRow, landmark(confirm=13), "confirm = 13 can never be reached within window = 12 views"),
        (LandmarkRow, landmark(score=0.4), ">= 0.5.*score"),
        (LandmarkRow, landmark(newest=0.0), ">= 0.01.*newest"),
        (LandmarkRow, landmark(label=""), "length >= 1.*label"),
        (LandmarkRow, landmark(scroe=0.9), "scroe"),
        (LandmarkRow, {"kind": "caecum", "head": "landmark"}, "label"),
        (JudgementRow, {"kind": "preparation", "head": "preparation", "min_share": 0.5}, "> 0.5.*min_share"),
        (JudgementRow, {"kind": "preparation", "head": "preparation", "min_views": 0}, ">= 1.*min_views"),
        (JudgementRow, {"kind": "preparation"}, "head"),
        (RulesConfig, {"landmarks": [landmark(), landmark()]}, 'landmarks: kind = "caecum" is there twice'),
    ],
)
def test_refused(kind: Any, table: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(table, kind)


def test_text_may_format_its_words() -> None:
    assert msgspec.convert(row(text="{label} {track}: {score:.0%}"), AlertRow).text
