"""The real core keeps the record of a procedure; kill -9 leaves one that the next core closes, and the real uplink
hands both over."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec
import pytest

from edge import spooled
from edge.cli import processes
from edge.procedure import Record
from tests.support import busy, clips
from tests.support.broker import free_port
from tests.support.report_server import TOKEN, serving
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("gi"), reason="GStreamer's Python package is not here")


def records(folder: Path) -> list[Record]:
    found = (spooled.read_record(path.parent) for path in sorted((folder / "spool").glob("*/record.json")))
    return [one for one in found if isinstance(one, Record)]


@pytest.mark.timeout(180)
def test_killed_and_closed_and_handed_over(tmp_path: Path) -> None:
    log = tmp_path / "log"
    file = busy.site(tmp_path, free_port())
    clips.encode(clips.with_field(75, polyp_from=5, polyp_to=35), tmp_path / "clip.mkv")  # out of view for long enough
    core = processes.start("core", file, log)
    try:
        wait_for(lambda: any(True for one in records(tmp_path) for _ in one.key_frames()), "a key frame is recorded")
        assert [one.state for one in records(tmp_path)] == ["running"], log.read_text()
    finally:
        core.kill()
        core.wait()
    with processes.running("core", file, log):
        wait_for(lambda: len(records(tmp_path)) == 2, "the next procedure's record")
        wait_for(lambda: records(tmp_path)[0].state == "interrupted", "the first one is closed")
    states = [one.state for one in records(tmp_path)]
    assert states == ["interrupted", "ended"], log.read_text()
    (tmp_path / "token").write_text(TOKEN)
    with serving() as server:
        with file.open("a") as site:
            site.write(f'[uplink.reports]\nurl = "{server.url}"\ntoken_file = "token"\n')
        with processes.running("uplink", file, log):
            wait_for(lambda: len(server.records) == 2, "both are handed over")
        sent = [msgspec.json.decode(one, type=Record) for one in server.records.values()]
    assert sent == records(tmp_path)
    assert {frame.sha256 for one in sent for frame in one.key_frames()} == set(server.frames)
    made_by = sent[0].heading.made_by
    assert (made_by.pipeline, len(made_by.model_sha256), len(made_by.pipeline_sha256)) == ("colonoscopy", 64, 64)
