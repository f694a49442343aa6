"""The path of an NVIDIA graphics card, whole: the `x86-cuda` profile as it ships, GStreamer's own CUDA memory, our
mapper and kernel, over a fake driver that counts every byte that crosses. See `tests/support/cuda_child.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.capture.profiles import LOOK_SIZE
from tests.support import clips, fake_cuda

WHOLE_BYTES, FIELD_BYTES = 160 * 128 * 4, 120 * 96 * 4  # the field is cropped before it is uploaded
FILM_BYTES = 200 * 160 * 4
GLANCE_BYTES = LOOK_SIZE[0] * LOOK_SIZE[1] * 4
PITCHED = [[512, 4, 1]]
WITHIN_S = 100

Said = dict[str, Any]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With the fakes first, and a registry of GStreamer's that knows them."""
    return fake_cuda.for_gstreamer(tmp_path_factory.mktemp("fakes"))


@pytest.fixture
def child(environment: dict[str, str], tmp_path: Path) -> Callable[..., Said]:
    def run(*arguments: object) -> Said:
        command = [sys.executable, "-m", "tests.support.cuda_child", *map(str, arguments)]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        if "no such element" in done.stderr or "needs cudaupload" in done.stderr:
            pytest.skip(f"this GStreamer's nvcodec plugin registers nothing over the fakes: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr[-3000:]
        said: Said = json.loads((tmp_path / "said.json").read_text())
        return said

    return run


def test_only_the_field_goes_up_and_only_glances_come_down(child: Callable[..., Said]) -> None:
    said = child("live", "snow", 15)
    stats = said["stats"]
    assert (stats["memory"], stats["frames"], stats["host_copies"], stats["d2h"]) == ("cuda", 15, 0, 0)
    assert said["down"] % GLANCE_BYTES == 0
    assert stats["glances"] <= said["down"] // GLANCE_BYTES <= stats["glances"] + 4 * (stats["rebuilds"] + 1)
    whole = [n for n in range(1, 9) if (said["up"] - n * WHOLE_BYTES) % FIELD_BYTES == 0]  # until the size was known
    assert whole
    assert (said["up"] - whole[0] * WHOLE_BYTES) // FIELD_BYTES + whole[0] >= stats["h2d"]
    assert said["fetched"] == 0
    assert said["masks"] == 1
    assert said["strides"] == PITCHED
    assert (said["corner"], said["middle"] > 60) == (0, True)
    assert said["contexts"] == 0
    assert said["living"] == {}  # contexts, streams, memory: GStreamer's too, for it has ours


@pytest.mark.parametrize(("pattern", "state"), [("black", "black"), ("checkers-8", "frozen")])
def test_placeholders_are_states_and_never_frames(child: Callable[..., Said], pattern: str, state: str) -> None:
    said = child("placeholder", pattern, state)
    assert state in said["states"]
    assert said["stats"]["frames"] == 0


def test_a_film_goes_the_same_way(child: Callable[..., Said], tmp_path: Path) -> None:
    clip = clips.encode(clips.with_field(20), tmp_path / "clip.mkv")
    said = child("film", clip)
    assert said["states"] == ["ended"]
    assert (said["stats"]["frames"], said["stats"]["memory"]) == (20, "cuda")
    assert (said["up"], said["down"], said["fetched"]) == (20 * FILM_BYTES, 0, 0)
    assert said["strides"] == PITCHED


def test_the_profile_is_chosen_where_the_backend_reads_cuda_memory(child: Callable[..., Said]) -> None:
    said = child("chosen")
    assert said["auto"] == "x86-cuda"
    assert said["host"].startswith("cpu")
