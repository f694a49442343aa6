"""A source that is made before it plays: systemd is told that it goes on, and how far it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.support import models
from tests.support.command import ROOT

WITHIN_S = 60.0


def test_a_phantom_that_is_rendered_extends_the_start(tmp_path: Path) -> None:
    models.build(tmp_path / "models" / "green")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "colonoscopy.toml").write_text(models.tables())
    file = tmp_path / "endoedge.toml"
    file.write_text(
        'device = "box"\npipeline = "colonoscopy"\npipelines_dir = "pipelines"\nmodels_dir = "models"\n'
        'run_dir = "run"\n'
        '[capture]\nsource = "phantom"\nseconds = 6\nfps = 5\nwidth = 320\nheight = 256\nloop = true\n'
        'cache_dir = "cache"\n[outbox]\npath = "outbox.db"\n[uplink]\nhost = "127.0.0.1"\nport = 9\n'
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WITHIN_S)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "edge.cli", "run", "core", "-c", str(file)]
        with subprocess.Popen(command, env=environment) as core:
            try:
                said: list[str] = []
                while not said or "READY=1" not in said[-1]:
                    said.append(manager.recv(4096).decode())
            finally:
                core.terminate()
    extended = [words for words in said if words.startswith("EXTEND_TIMEOUT_USEC=60000000\n")]
    assert [words.partition("STATUS=")[2] for words in extended] == [
        f"renders the phantom: {n} of 30 frames" for n in range(1, 31)
    ]
    assert said[: len(extended)] == extended  # before it is ready
