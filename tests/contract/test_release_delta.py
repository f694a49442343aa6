"""What an adaptive update would fetch, counted on images of which it is known."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import releases
from tests.support.releases import run
from tools.release import image

pytestmark = pytest.mark.skipif(bool(releases.missing()), reason=releases.missing())


def test_a_delta_finds_what_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A random file of 3 MB in both images, and another one of 100 kB in each."""
    same = os.urandom(3_000_000)
    images = []
    for version in ("1.0.0", "1.1.0"):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "release.json").write_text(json.dumps({"version": version}))
        (folder / "same").write_bytes(same)
        (folder / "a-file-before-it").write_bytes(os.urandom(100_000))
        images.append(tmp_path / f"{version}.img")
        image.squash(folder, images[-1], 1)
    assert run("delta", *images, "--kind", "zstd -b 128K", "--kind", "uncompressed -b 128K") == 0
    out = capsys.readouterr().out
    assert "…" not in out
    rows = [[cell.strip().replace(",", "") for cell in line.split("│")] for line in out.splitlines() if "zstd" in line]
    whole, blocks, chunks = (int(rows[0][column]) for column in (2, 3, 6))
    assert 3_100_000 < whole < 3_200_000
    assert 100_000 <= blocks < 350_000  # what lies in both is found, but where it was moved by no whole block
    assert 100_000 <= chunks < 350_000
    assert "2 files differ" in out
    assert run("delta", *images, "--kind", "none") == 2
