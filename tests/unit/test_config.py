"""Configuration errors name file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge import paths
from edge.cli import assemble
from edge.errors import ConfigError

GOOD = """
device = "box-1"
pipeline = "colonoscopy"
[capture]
source = "file"
path = "clip.mkv"
[infer]
backend = "onnx"
threads = 2
[outbox]
path = "outbox.db"
[uplink]
host = "127.0.0.1"
port = 1883
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "endoedge.toml"
    file.write_text(text)
    return file


def test_good_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    site = assemble.load_site(write(tmp_path, GOOD + '[uplink.tls]\nca = "ca.pem"\n'))
    assert site.outbox_path == tmp_path / "outbox.db"
    assert site.uplink.tls is not None
    assert site.uplink.tls.ca == str(tmp_path / "ca.pem")
    assert site.pipeline.name == "colonoscopy"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("threads = 2", "thread = 2", r"unknown key infer\.thread \(did you mean threads\?\)"),
        ("threads = 2", "threads = 0", r"infer\.threads: expected `int` >= 1"),
        ("threads = 2", 'threads = "two"', r"infer\.threads: expected `int`, got `str`"),
        ('backend = "onnx"', 'backend = "onxx"', r"infer\.backend is 'onxx' \(did you mean onnx\?\)"),
        ('backend = "onnx"', "", r"infer\.backend is missing; one of null, onnx"),
        ('source = "file"', 'source = "hdmi"', r"capture\.source is 'hdmi'; allowed: .*file, .*phantom"),
        ('path = "clip.mkv"', "", r"capture\.path is missing"),
        ('path = "clip.mkv"', 'path = "c"\nrate = "slow"', r"capture\.rate: invalid enum value 'slow'"),
        ("port = 1883", "port = 99999", r"uplink\.port: expected `int` <= 65535"),
        ('device = "box-1"', 'device = "box 1"', r"device: expected `str` matching regex"),
        ('device = "box-1"', "", "device is missing"),
        (
            'pipeline = "colonoscopy"',
            'pipeline = "bronchoscopy"',
            r"pipeline is 'bronchoscopy', but .* has: colonoscopy",
        ),
        ("[outbox]", "[outbox]\nmax_mb = 3", r"unknown key outbox\.max_mb \(did you mean max_mib\?\)"),
        ("[uplink]", "[uplink", "is not valid TOML"),
        ("[capture]", "[captrue]", r"unknown key captrue \(did you mean capture\?\)"),
    ],
)
def test_errors(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        assemble.load_site(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        assemble.load_site(tmp_path / "none.toml")
    file = write(tmp_path, "")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        assemble.load_site(file)


def test_pipeline_errors_name_the_pipeline_file(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    pipeline = folder / "colonoscopy.toml"
    shipped = Path(paths.data_dir("pipelines") / "colonoscopy.toml").read_text()
    pipeline.write_text(shipped.replace("confirm = 7", "confirm = 40"))
    file = write(tmp_path, GOOD.replace("[capture]", 'pipelines_dir = "mine"\n[capture]'))
    with pytest.raises(ConfigError, match=r"tracks: confirm = 40 can never be reached") as caught:
        assemble.load_site(file)
    assert str(caught.value).startswith(f"{pipeline}: ")
