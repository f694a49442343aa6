"""Vendors' packages have one door each: the file that may import them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

EDGE = Path(__file__).parents[2] / "edge"
DOORS = {
    "cuda": "memory/gpu.py",
    "tensorrt": "infer/tensorrt.py",
    "onnxruntime": "infer/onnx.py",
    "paho": "uplink/mqtt.py",
    "prometheus_client": "uplink/metrics.py",
    "serial": "console/port.py",
    "cryptography": "console/tokens.py uplink/identity.py",  # parts know nothing of each other
}


def importers(package: str) -> set[str]:
    found = set()
    for file in EDGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if any(name.split(".")[0] == package for name in names):
                found.add(str(file.relative_to(EDGE)))
    return found


@pytest.mark.parametrize("package", list(DOORS))
def test_each_is_imported_where_it_may_be(package: str) -> None:
    assert importers(package) == set(DOORS[package].split())


def test_choosing_comes_before_importing() -> None:
    """Everything that knows of a GPU can be imported where there is none."""
    program = (
        "import sys\nfrom edge.infer import onnx, tensorrt\nfrom edge.memory import gpu\nfrom edge.cli import model\n"
        "print([name for name in ('cuda', 'tensorrt', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=EDGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_console_is_light() -> None:
    """It has to start on a box whose GStreamer or NumPy is broken, and to stay when memory is short."""
    program = (
        "import sys\nfrom edge import cli\nassert cli.main(['console', '--verify-audit', '/nonexistent']) == 1\n"
        "print([name for name in ('gi', 'onnxruntime', 'numpy', 'cv2', 'paho', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=EDGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("part", ["uplink", "safe"])
def test_the_mouth_and_the_safe_state_are_light(part: str, tmp_path: Path) -> None:
    """Whatever the configuration chooses for the eyes: they begin, end at once, and have not looked at it."""
    site = tmp_path / "endoedge.toml"
    site.write_text(
        'device = "box"\npipeline = "colonoscopy"\nrun_dir = "run"\n[capture]\nsource = "phantom"\n'
        '[outbox]\npath = "outbox.db"\n[uplink]\nhost = "127.0.0.1"\nport = 9\n'
    )
    (tmp_path / "run").mkdir()
    program = (
        "import argparse, importlib, pathlib, sys, threading\nfrom edge.cli import run\n"
        "stop = threading.Event()\nstop.set()\n"
        f"options = argparse.Namespace(config=pathlib.Path({str(site)!r}), rest=1.0)\n"
        f"assert importlib.import_module(run.PARTS[{part!r}]).serve(options, stop) == 0\n"
        "print([name for name in ('gi', 'onnxruntime', 'numpy', 'cv2', 'rich', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=EDGE.parent, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
