"""Capture to subscriber at the real feed rate: core, uplink, broker and subscriber as separate processes or threads.

The pipeline is the released one with one number changed: the polyp alert repeats at every frame while its track is
confirmed (`repeat_s = 0`), so that there is something to measure in every frame.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rich.console import Console

from edge import paths, status
from edge.capture import phantom
from edge.cli import assemble, broker, demo, processes
from edge.errors import EdgeError
from edge.status import CoreStatus


def measure(fps: int, seconds: float, threads: int, pipeline: str, scratch: Path, console: Console) -> dict[str, Any]:
    """Percentiles over all alerts of `seconds` of phantom. A deadline miss is a frame that a newer one replaced."""
    folder = scratch / f"{fps}-fps"
    folder.mkdir()
    script = phantom.Config(fps=fps, seconds=seconds)
    demo.render_phantom(script, console)
    mailbox = demo.Mailbox()
    with broker.running(folder) as port:
        file = demo.write_site(
            folder,
            {"source": "phantom", "fps": script.fps, "seconds": script.seconds},
            port,
            threads,
            pipeline,
            _every_frame(pipeline, folder),
        )
        site = assemble.load_site(file)
        assemble.make_run_dir(site)
        log = folder / "endoedge.log"
        with (
            demo.subscriber(site.uplink, mailbox),
            processes.running("uplink", file, log),
            processes.running("core", file, log) as process,
            console.status(f"capture to subscriber at {fps} fps"),
        ):
            code = process.wait()
            last = status.read(site.status_path, CoreStatus)
            arrived = last is not None and demo.wait_for(lambda: mailbox.received >= last.events)
    if code != 0 or last is None or not arrived:
        raise EdgeError(f"the {fps} fps run failed: {demo.last_line(log) or 'not everything arrived'}")
    latencies = mailbox.alert_latencies_ms()
    return demo.latency_summary(latencies) | {
        "alerts": len(latencies),
        "frames": last.source.frames,
        "deadline_misses": last.source.dropped,
    }


def _every_frame(pipeline: str, folder: Path) -> Path:
    """A folder with the released pipeline, its track alerts repeating at every frame."""
    text = (paths.data_dir("pipelines") / f"{pipeline}.toml").read_text()
    changed, rows = re.subn(r'^when = "track"$', 'when = "track"\nrepeat_s = 0.0', text, flags=re.MULTILINE)
    if not rows:
        raise EdgeError(f"pipeline {pipeline}: has no track alert to measure the latency of")
    made = folder / "pipelines"
    made.mkdir()
    (made / f"{pipeline}.toml").write_text(changed)
    return made


def combine(by_fps: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The worst rate's percentiles on top, each rate's own below."""
    worst = {
        name: max((row[name] for row in by_fps.values() if row[name] is not None), default=None)
        for name in ("p50", "p95", "p99", "max")
    }
    return worst | {"by_fps": {str(fps): row for fps, row in by_fps.items()}}


def processor() -> str:
    """The CPU's own name, and how many there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    count = sum(line.startswith("processor") for line in lines)
    return f"{count} x {names[0] if names else 'unknown processor'}"
