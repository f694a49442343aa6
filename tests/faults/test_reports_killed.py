"""kill -9 of the real uplink in the middle of uploads, over a slow line: every procedure arrives whole, and once."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from edge import spooled
from edge.cli import processes
from tests.support.broker import free_port
from tests.support.procedures import lay
from tests.support.report_server import TOKEN, serving
from tests.support.waiting import wait_for

KILLS = int(os.environ.get("ENDOEDGE_KILLS", "4"))
SEED = int(os.environ.get("ENDOEDGE_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
PROCEDURES, FRAMES = 3, 6


def site(folder: Path, url: str) -> Path:
    """No broker is there, and none is needed."""
    (folder / "credentials").mkdir()
    (folder / "credentials" / "report-token").write_text(f"{TOKEN}\n")
    file = folder / "endoedge.toml"
    file.write_text(
        'device = "box-1"\npipeline = "colonoscopy"\nrun_dir = "run"\n'
        '[capture]\nsource = "phantom"\n[outbox]\npath = "outbox.db"\n'
        f'[uplink]\nhost = "127.0.0.1"\nport = {free_port()}\nretry_min_s = 0.05\nretry_max_s = 0.3\n'
        f'[uplink.reports]\nurl = "{url}"\nretry_min_s = 0.05\nretry_max_s = 0.1\n'
    )
    return file


@pytest.mark.timeout(90 + 20 * KILLS)
def test_every_procedure_arrives_once(tmp_path: Path) -> None:
    print(f"seed {SEED}, {KILLS} kills")
    dice, spool, log = random.Random(SEED), tmp_path / "spool", tmp_path / "log"
    pictures = {f"run-{n}": lay(spool, f"run-{n}", frames=FRAMES, size=60_000) for n in range(PROCEDURES)}
    with serving() as server:
        server.read_rate = 300_000
        file = site(tmp_path, server.url)
        for _ in range(KILLS):
            before, process = len(server.asked), processes.start("uplink", file, log)
            try:
                wait_for(lambda n=before: len(server.asked) > n or len(server.records) == PROCEDURES, log.read_text())
                time.sleep(dice.uniform(0, 0.5))
                assert process.poll() is None, log.read_text()
            finally:
                process.kill()
                process.wait()
            # What the dead one had under way ends here: a server sees two at once only from two that live.
            wait_for(lambda: not server._at_work, "the server has noticed")
        with processes.running("uplink", file, log):
            wait_for(lambda: len(server.records) == PROCEDURES, "all arrive")
            wait_for(lambda: all(spooled.is_sent(spool / name) for name in pictures), "all are marked")
        assert set(server.stored.values()) == {1}
        assert sorted(server.frames.values()) == sorted(one for some in pictures.values() for one in some)
        assert list(server.records) == sorted(pictures)
        print(f"{len(server.asked)} requests for {PROCEDURES} procedures of {FRAMES} key frames")
