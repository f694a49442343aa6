"""The committed schemas of configuration and model files accept what the loader accepts, and refuse what it refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from edge.config import read_toml

ROOT = Path(__file__).parents[2]


def validator(name: str) -> Draft7Validator:
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("endoedge.toml", "docs/endoedge.example.toml"),
        ("pipeline.toml", "pipelines/colonoscopy.toml"),
        ("pipeline.toml", "pipelines/gastroscopy.toml"),
        ("model.toml", "models/polyp-mobilenetv2-256/model.toml"),
    ],
)
def test_shipped_files_fit(name: str, file: str) -> None:
    assert list(validator(name).iter_errors(read_toml(ROOT / file))) == []


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("capture", "source", "hdmi"),
        ("capture", "seed", 1),  # the phantom's key, not the file's
        ("capture", "rate", "slow"),
        ("infer", "threads", 0),
        ("outbox", "max_mib", "much"),
        ("uplink", "prot", 1883),
        (None, "colour", "red"),
    ],
)
def test_what_the_loader_refuses_does_not_fit(table: str | None, key: str, value: Any) -> None:
    site = copy.deepcopy(read_toml(ROOT / "docs/endoedge.example.toml"))
    (site[table] if table else site)[key] = value
    assert list(validator("endoedge.toml").iter_errors(site))
