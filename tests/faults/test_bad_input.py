"""Bad input from a stranger's hands: one clear line, the right exit code, no hang, nothing changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import clips, models
from tests.support.command import endoedge


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A whole site on a desk: green model, a clip with one "polyp", no broker."""
    models.build(tmp_path / "models" / "green")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "colonoscopy.toml").write_text(models.tables())
    clips.encode(clips.with_field(80, polyp_from=60, polyp_to=75), tmp_path / "clip.mkv")
    write(tmp_path)
    return tmp_path


def write(folder: Path, **changes: str) -> None:
    values = {
        "source": 'source = "file"\npath = "clip.mkv"\nrate = "max"',
        "infer": 'backend = "onnx"',
        "outbox": 'path = "outbox.db"\nmax_mib = 4',
        "uplink": 'host = "127.0.0.1"\nport = 9',
    } | changes
    (folder / "endoedge.toml").write_text(
        'device = "box"\npipeline = "colonoscopy"\n'
        'pipelines_dir = "pipelines"\nmodels_dir = "models"\nrun_dir = "run"\n'
        f"[capture]\n{values['source']}\n[infer]\n{values['infer']}\n[outbox]\n{values['outbox']}\n"
        f"[uplink]\n{values['uplink']}\n"
    )


def core(folder: Path) -> subprocess.CompletedProcess[str]:
    """From another folder than the configuration's: its paths are relative to itself."""
    return endoedge("run", "core", "-c", folder / "endoedge.toml", folder=folder.parent)


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line for people: the last on stderr. Tracebacks are for us, not for them."""
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_the_site_itself_is_fine(site: Path) -> None:
    done = core(site)
    assert done.returncode == 0, done.stderr
    status = json.loads((site / "run" / "status.json").read_text())
    assert status["finished"]
    assert status["source"]["frames"] == 80
    assert status["events"] > 3


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("text.mkv", b"hello\n" * 100, 1, "text.mkv: not a video that GStreamer can decode"),
        ("empty.mkv", b"", 1, "empty.mkv: the file is empty, a video was expected"),
        ("none.mkv", None, 1, "none.mkv: cannot be read: No such file or directory"),
    ],
)
def test_not_a_video(site: Path, name: str, content: bytes | None, code: int, message: str) -> None:
    if content is not None:
        (site / name).write_bytes(content)
    write(site, source=f'source = "file"\npath = "{name}"')
    done = core(site)
    assert done.returncode == code
    assert message in error_line(done)


def test_a_truncated_video_fails_after_committing_what_it_showed(site: Path) -> None:
    whole = clips.encode(clips.with_field(150, polyp_from=60), site / "w.mp4", muxer="mp4mux faststart=true")
    (site / "cut.mp4").write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.66)])
    write(site, source='source = "file"\npath = "cut.mp4"\nrate = "max"')
    done = core(site)
    assert done.returncode == 1
    assert "cut.mp4: " in error_line(done)
    status = json.loads((site / "run" / "status.json").read_text())
    assert status["alerts"] >= 1  # the polyp before the cut
    assert status["waiting"] == 0


@pytest.mark.parametrize("damage", ["truncated", "foreign", "garbage"])
def test_a_wrong_model_is_refused(site: Path, damage: str) -> None:
    file = site / "models" / "green" / "int8.onnx"
    content = file.read_bytes()
    file.write_bytes({"truncated": content[:-9], "foreign": b"\x08\x07" * 99, "garbage": os.urandom(500)}[damage])
    done = core(site)
    assert done.returncode == 1
    assert "int8.onnx: refused: its sha256 is" in error_line(done)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"infer": 'backend = "onnx"\nthraeds = 2'}, "unknown key infer.thraeds (did you mean threads?)"),
        ({"outbox": "max_mib = 0"}, "outbox.max_mib: expected `int` >= 1"),
        ({"uplink": "port = 1883\nhost = 5"}, "uplink.host: expected `str`, got `int`"),
        ({"uplink": 'host = "a b"'}, "uplink.host: "),
    ],
)
def test_configuration_errors_exit_2(site: Path, changes: dict[str, str], message: str) -> None:
    write(site, **changes)
    done = core(site)
    assert done.returncode == 2
    assert message in error_line(done)
    assert "endoedge.toml: " in error_line(done)


@pytest.mark.parametrize(
    ("uplink", "message"),
    [
        ('host = "127.0.0.1"\n[uplink.tls]\nca = "none.pem"', "none.pem"),
        ('host = "127.0.0.1"\n[uplink.tls]\nca = "endoedge.toml"', "endoedge.toml"),
        ('host = "broker.example"', "allow_plaintext"),
    ],
)
def test_wrong_certificates_are_said_at_start(site: Path, uplink: str, message: str) -> None:
    write(site, uplink=uplink)
    done = endoedge("run", "uplink", "-c", "endoedge.toml", folder=site)
    assert done.returncode in (1, 2)
    assert message in error_line(done)


def test_a_foreign_outbox_is_left_alone(site: Path) -> None:
    (site / "outbox.db").write_bytes(b"precious notes, not a database\n" * 50)
    before = (site / "outbox.db").read_bytes()
    done = core(site)
    if done.returncode == 0:  # moved aside, loudly
        assert any(path.read_bytes() == before for path in site.glob("outbox.db*"))
        assert "outbox.db" in done.stderr
    else:
        assert "outbox.db" in error_line(done)
        assert (site / "outbox.db").read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: see tests/unit/test_outbox.py for the rest")
def test_a_read_only_folder(site: Path) -> None:
    folder = site / "locked"
    folder.mkdir(mode=0o500)
    write(site, outbox='path = "locked/outbox.db"')
    done = core(site)
    assert done.returncode == 1
    assert "locked" in error_line(done)


def test_check_says_what_is_wrong_and_how_to_mend_it(site: Path) -> None:
    (site / "models" / "green" / "int8.onnx").write_bytes(b"x")
    done = endoedge("check", "-c", "endoedge.toml", "--json", folder=site)
    assert done.returncode == 1
    rows = {row["what"]: row for row in json.loads(done.stdout)["checks"]}
    assert rows["configuration"]["good"]
    assert rows["outbox"]["good"]
    assert not rows["model"]["good"]
    assert not rows["broker"]["good"]
    assert "127.0.0.1:9" in rows["broker"]["found"]
    assert all(row["mend"] for row in rows.values() if row["good"] is False)


@pytest.mark.parametrize(
    ("source", "good", "found"),
    [
        ('source = "test"\nfield = "whole"', True, "test pattern snow: 1280x720"),
        ('source = "v4l2"\ndevice = "/dev/video99"', False, "/dev/video99: the capture device is not there"),
        ('source = "images"\npath = "none"', False, "none"),
    ],
    ids=["live", "no device", "no folder"],
)
def test_check_opens_the_capture(site: Path, source: str, good: bool, found: str) -> None:
    write(site, source=source)
    done = endoedge("check", "-c", "endoedge.toml", "--json", folder=site)
    rows = {row["what"]: row for row in json.loads(done.stdout)["checks"]}
    assert (rows["capture"]["good"], found in rows["capture"]["found"]) == (good, True), rows["capture"]
    assert good or rows["capture"]["mend"]


def test_check_of_nothing(tmp_path: Path) -> None:
    done = endoedge("check", "-c", "none.toml", folder=tmp_path)
    assert done.returncode == 1
    assert "cannot be read" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--source", "none.mp4"],
        ["demo", "--seconds", "0"],
        ["demo", "--fps", "fast"],
        ["bench", "--frames", "-5"],
        ["bench", "--seconds", "nan"],
        ["run", "everything"],
        ["replay"],
        ["dance"],
        [],
    ],
)
def test_usage_errors_exit_2(tmp_path: Path, arguments: list[str]) -> None:
    done = endoedge(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_truth_file_that_is_none(site: Path) -> None:
    (site / "truth.jsonl").write_text("{}\n")
    done = endoedge("replay", "clip.mkv", "--truth", "truth.jsonl", folder=site)
    assert done.returncode == 2
    assert "truth.jsonl:1" in error_line(done)


def test_no_broker_program(tmp_path: Path, site: Path) -> None:
    """Without mosquitto the demo says which package to install."""
    if shutil.which("mosquitto", path="/usr/local/bin:/bin"):
        pytest.skip("mosquitto is where this test cannot hide it")
    from edge.cli import broker
    from edge.errors import EdgeError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker, "PLACES", ())
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(EdgeError, match="apt install mosquitto"):
            broker.find()
