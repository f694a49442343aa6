"""The on-device command: on this machine, on a recorded one, and with checks that crash or hang."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support import board_trees
from tools.on_device import ORDER, ROOT, Options, report
from tools.on_device import __main__ as command
from tools.on_device.checks import egl


def ran(out: Path, *arguments: str) -> tuple[int, str, dict[str, Any], Path]:
    """Exit code, what it printed, its report, and the report's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.on_device", "--out", str(out), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
    )
    assert done.stderr == ""
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return done.returncode, done.stdout, json.loads((folder / "report.json").read_text()), folder


def test_on_a_pc_it_says_what_each_check_needs_and_still_reports(tmp_path: Path) -> None:
    names = ("thermals", "egl", "soak")
    code, said, written, folder = ran(tmp_path, "--only", *names)
    assert code == 1
    for name in names:
        assert f"not here  {name}: needs a Jetson" in said
    assert "0 of 3 passed" in said
    assert [check["name"] for check in written["checks"]] == list(names)
    assert {check["result"]["outcome"] for check in written["checks"]} == {"not here"}
    with tarfile.open(folder.with_name(folder.name + ".tar.gz")) as archive:
        assert {f"{folder.name}/{name}" for name in ("report.json", "report.md", "egl.json", "egl.log")} <= set(
            archive.getnames()
        )


def test_on_a_recorded_jetson_its_sensors_pass_and_its_gpu_is_missed(tmp_path: Path) -> None:
    """The files of an Orin Nano under another root; this machine's own libraries."""
    with board_trees.grown("orin_nano_jp6", tmp_path / "root") as root:
        code, said, written, folder = ran(tmp_path / "out", "--root", str(root), "--only", "thermals", "install")
    assert code == 1
    sensors, packages = (check["result"] for check in written["checks"])
    assert sensors["outcome"] == "passed"
    assert packages["outcome"] == "failed"
    assert "apt install nvidia-l4t-gstreamer" in packages["said"]
    assert "1 of 2 passed" in said
    assert written["board"]["release"] == "36.4.3"
    page = (folder / "report.md").read_text()
    assert "Orin Nano" in page.splitlines()[0]
    assert "| passed | 9 zones, 3 rails, mode MAXN_SUPER |" in page


def impostor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Every child is this shell script in place of Python."""
    file = tmp_path / "python"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setattr(command.sys, "executable", str(file))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("kill -SEGV $$", "ended by SIGSEGV; see egl.log"),
        ("echo words; exit 3", "ended with code 3 and no result; see egl.log"),
        ("exec sleep 60", "was still at it after 0 s; see egl.log"),
        ('echo "{" > egl.json', "ended with code 0 and no result; see egl.log"),
    ],
)
def test_a_check_that_crashes_or_hangs_costs_itself_alone(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor(tmp_path, monkeypatch, script.replace("egl.json", str(tmp_path / "egl.json")))
    monkeypatch.setattr(egl, "LIMIT_S", 0.2 if "sleep" in script else 60.0)
    entry = command._one("egl", Options(), tmp_path, Path("/"))
    assert (entry.result.outcome, entry.result.said) == ("failed", said)


def test_screens_are_kept_from_checks_of_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child says by its exit code whether it has a display."""
    impostor(tmp_path, monkeypatch, '[ -z "$DISPLAY" ]')
    monkeypatch.setenv("DISPLAY", ":7")
    said = {name: command._one(name, Options(), tmp_path, Path("/")).result.said for name in ("egl", "latency")}
    assert said["egl"].startswith("ended with code 0")
    assert said["latency"].startswith("ended with code 1")


def test_what_a_check_raises_is_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(context: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(egl, "run", broken)
    assert command.main(["--child", "egl", "--out", str(tmp_path)]) == 0
    result = report.read(tmp_path / "egl.json")
    assert result is not None
    assert (result.outcome, result.said) == ("failed", "[Errno 28] No space left on device")


def test_a_check_that_does_not_exist_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["--only", "nothing"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ORDER)
