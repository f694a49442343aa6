"""What the documents say exists, exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge import config
from edge.cli import COMMANDS
from edge.config import SiteConfig
from edge.uplink.config import UplinkConfig
from tools import on_device

ROOT = Path(__file__).parents[2]


def test_the_example_is_a_valid_site_configuration() -> None:
    file = ROOT / "docs" / "endoedge.example.toml"
    site = config.decode_toml(file, SiteConfig)
    config.decode(site.uplink, UplinkConfig, str(file), "uplink")
    config.part("edge.capture", site.capture, "source", str(file), "capture")
    config.part("edge.infer", site.infer, "backend", str(file), "infer")


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "ARCHITECTURE.md",
        "docs/on-device.md",
        "docs/jetson.md",
        "docs/adr/0017-static-channel-or-hawkbit.md",
        "docs/board.md",
        "docs/install.md",
        "docs/update.md",
        "docs/jetson-update.md",
        "docs/review.md",
        "docs/server.md",
        "docs/exports.md",
        "docs/console.md",
        "docs/security.md",
        "docs/accounts.md",
        "docs/faults.md",
        "docs/words.md",
        "docs/learning.md",
        "docs/scale.md",
        "calibration/README.md",
    ],
)
def test_named_files_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:edge|tools|docs|tests|pipelines|calibration|models)/[\w./-]+\.\w+)`", text))
    named |= {target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target}
    base = (ROOT / name).parent
    missing = [
        path
        for path in sorted(named)
        if "NAME" not in path and not (ROOT / path).exists() and not (base / path).exists()
    ]
    assert not missing


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"endoedge {command}" not in text] == []


def test_the_on_device_page_names_every_check() -> None:
    text = (ROOT / "docs" / "on-device.md").read_text(encoding="utf-8")
    assert [check for check in on_device.ORDER if f"| `{check}` |" not in text] == []
