"""The GPU benchmark, whole, over the fakes: GStreamer's CUDA memory, our mapper and backend, its processes and table.

Its times are the fakes' and mean nothing; which pixels arrive, what is counted and what it says of it, is real.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import clips, fake_cuda, models

WITHIN_S = 100
COPIES = ("host", "h2d", "d2h", "device")


class Ran(NamedTuple):
    code: int
    said: str
    complained: str
    report: dict[str, Any]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return fake_cuda.for_gstreamer(tmp_path_factory.mktemp("fakes"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.encode(
        clips.with_field(120, polyp_from=30, polyp_to=90), tmp_path_factory.mktemp("clip") / "c.mkv", 60
    )


def ran(environment: dict[str, str], folder: Path, clip: Path, size: int, *arguments: str) -> Ran:
    """With a little model for frames of `size` px."""
    model = models.build(folder / "model", size)
    models.pipeline(folder)
    target = folder / "figures.json"
    command = [sys.executable, "-m", "tests.support.gpu_bench_child", "--clip", str(clip), "--model", str(model)]
    command += ["--pipeline", str(folder / "colonoscopy.toml"), "--seconds", "1.5", "--runs", "50"]
    done = subprocess.run(
        [*command, "--json", str(target), *arguments],
        env=environment | {"COLUMNS": "160"}, capture_output=True, text=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip
    if "lacks cudaupload" in done.stderr:
        pytest.skip(f"this GStreamer's nvcodec plugin registers nothing over the fakes: {done.stderr[-300:]}")
    return Ran(done.returncode, done.stdout, done.stderr, json.loads(target.read_text()) if target.exists() else {})


def test_two_streams_without_a_copy(environment: dict[str, str], clip: Path, tmp_path: Path) -> None:
    """128 px: rows of 512 bytes, which fill the pitch."""
    done = ran(environment, tmp_path, clip, 128, "--streams", "1", "2")
    assert done.complained == ""
    assert done.code == 0, done.said
    report = done.report
    for seen in report["interface"].values():
        assert (seen["same"], seen["n"], seen["pitches"], seen["first_bad"]) == (12, 12, [1024], "")
    assert {"rows and gaps, cut on the host", "rows packed on the GPU"} <= report["interface"].keys()
    assert (report["no_graph"], report["differences"], report["bare"]["n"]) == ("", [], 50)
    assert report["gpu"]["name"] == "Fake GPU 0"
    assert [(row["streams"], len(row["each"]), row["error"]) for row in report["streams"]] == [(1, 1, ""), (2, 2, "")]
    for one in (one for row in report["streams"] for one in row["each"]):
        assert one["n"] == one["frames"] == one["upload"] > 10
        assert [one[name] for name in COPIES] == [0, 0, 0, 0]
    met = {aim["what"]: aim["met"] for aim in report["aims"]}
    assert met["whole pictures copied after the upload, all runs"]
    assert "│ met" in done.said
    assert "Fake GPU 0" in done.said


def test_without_graphs_and_with_rows_that_have_to_be_packed(
    environment: dict[str, str], clip: Path, tmp_path: Path
) -> None:
    """64 px: rows of 256 bytes in a pitch of 512, which the engine cannot read in place: each is a copy, and the
    command fails. A runtime that refuses graphs is run without them, and that is said."""
    refusing = environment | {"FAKE_ORT_REFUSES_GRAPHS": "1"}
    done = ran(refusing, tmp_path, clip, 64, "--streams", "1")
    assert "graph capture feature" in done.report["no_graph"]
    assert "without CUDA graphs (bare: ended with code 1: gpu_bench:" in " ".join(done.said.split())
    (one,) = done.report["streams"][0]["each"]
    assert done.code == 1
    assert one["device"] == one["frames"] > 10
    (aim,) = (aim for aim in done.report["aims"] if aim["what"].startswith("whole pictures"))
    assert (aim["figure"], aim["met"]) == (one["frames"], False)
