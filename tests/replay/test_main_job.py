"""The main job as a user runs it: real processes, a real broker, the released model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge import paths
from tests.support.broker import missing_tools
from tests.support.command import ROOT, endoedge

REAL_CLIP = ROOT.parent / "shared" / "data" / "video" / "lag_normal_wli_clean_304_601.mp4"

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())


def result_of(*arguments: str, timeout_s: float) -> dict[str, Any]:
    """The last line of standard output, which `--json` promises to be one object."""
    done = endoedge(*arguments, "--json", timeout_s=timeout_s)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.timeout(300)
def test_phantom_to_subscriber() -> None:
    result = result_of("demo", "--seconds", "12", timeout_s=280)
    assert result["alerts_sent"] == result["alerts_received"] > 0
    assert result["frames"] + result["dropped"] == 12 * 25
    assert result["latency_ms"]["p50"] < 1000
    assert result["exit"] == 0
    assert {"duplicates", "model"} <= result.keys()


@pytest.mark.timeout(120)
@pytest.mark.skipif(not REAL_CLIP.is_file(), reason=f"{REAL_CLIP.name} is not beside the checkout")
def test_real_gastroscopy_to_its_end() -> None:
    result = result_of("demo", "--source", str(REAL_CLIP), timeout_s=100)
    assert result["frames"] + result["dropped"] == 298
    assert result["alerts_sent"] == result["alerts_received"]
    assert result["exit"] == 0


@pytest.mark.timeout(400)
def test_the_benchmark_in_small() -> None:
    """What it prints, not how fast: machines that run tests are busy."""
    result = result_of("bench", "--frames", "400", "--seconds", "12", timeout_s=380)
    assert result["frames"] >= 400
    assert result["whole_over_bare"] > 0.5
    assert set(result["stages_ms"]) == {"wait", "capture", "infer", "heads", "decide", "commit", "report"}
    assert 0.99 < sum(stage["share"] for stage in result["stages_ms"].values()) < 1.01
    assert result["int8_speedup"] > 0
    assert result["python_ms_p99"] > 0
    assert -0.5 < result["rss_growth"] < 0.5
    for fps in ("25", "60"):
        row = result["latency_ms"]["by_fps"][fps]
        assert row["frames"] + row["deadline_misses"] == 12 * int(fps)
        assert row["alerts"] > 0
        assert 0 < row["p50"] <= row["p95"] <= row["p99"] <= row["max"]


def test_every_pipeline_finds_its_model() -> None:
    for file in paths.data_dir("pipelines").glob("*.toml"):
        name = next(line.split('"')[1] for line in file.read_text().splitlines() if line.startswith("model = "))
        assert (paths.data_dir("models") / name / "model.toml").is_file(), f"{file.name} wants {name}"
