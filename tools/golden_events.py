#!/usr/bin/env python3
"""Make what `endoedge check --deep` holds a box against: a clip of the phantom, and what the released model, pipeline
and reference backend say of it (`pipelines/golden/`). Again after a new model, pipeline or phantom; look at the
difference before committing it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from edge import paths
from edge.cli import assemble
from edge.cli.checks import phantom
from edge.cli.checks.phantom import Golden
from edge.cli.site import Site
from edge.errors import EdgeError
from edge.phantom import Script, write_clip

SCRIPT = Script(seed=3, fps=8, seconds=10.0, width=320, height=256)  # a polyp comes, is alerted, and goes
FRAMES_OFF = 3
CLIP = "phantom.mkv"
SITE = 'device = "golden"\npipeline = "{}"\n[capture]\nsource = "test"\n[uplink]\n'


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 fault, 2 usage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="the clip, too; else the committed one is used")
    options = parser.parse_args(arguments)
    folder = paths.data_dir("pipelines") / "golden"
    try:
        if options.render:
            folder.mkdir(exist_ok=True)
            render(folder / CLIP)
        for pipeline in sorted(folder.parent.glob("*.toml")):
            golden = made(pipeline.stem, folder / CLIP)
            text = msgspec.json.format(msgspec.json.encode(golden), indent=1)
            (folder / f"{pipeline.stem}.json").write_bytes(text + b"\n")
            print(f"{pipeline.stem}: {len(golden.events)} events")
    except EdgeError as exc:
        print(f"golden_events: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def render(clip: Path) -> None:
    """At a third of the phantom's own bit rate: a file to be kept in a repository."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, CLIP)
        write_clip(SCRIPT, whole, whole.with_suffix(".jsonl"))
        launch = (
            f"gst-launch-1.0 -q filesrc location={whole} ! matroskademux ! h264parse ! avdec_h264 ! x264enc"
            " pass=quant quantizer=25 speed-preset=veryslow bframes=0 threads=1 ! h264parse ! matroskamux"
            f" ! filesink location={clip}"
        )
        done = subprocess.run(launch.split(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise EdgeError(f"{clip}: the encoder failed: {done.stderr.strip()}")


def made(name: str, clip: Path) -> Golden:
    site = _site(name)
    loaded = assemble.load_model(site)
    backend = assemble.open_backend(site, loaded)
    try:
        events = phantom.watched(site, loaded, backend, clip)
    finally:
        backend.close()
    return Golden(
        made_by="tools/golden_events.py",
        pipeline_sha256=phantom.digest(Path(site.pipeline_file)),
        model=loaded.manifest.name,
        model_version=loaded.manifest.version,
        clip=clip.name,
        clip_sha256=phantom.digest(clip),
        fps=SCRIPT.fps,
        frames_off=FRAMES_OFF,
        events=phantom.told(events, SCRIPT.fps),
    )


def _site(pipeline: str) -> Site:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "endoedge.toml")
        file.write_text(SITE.format(pipeline))
        return assemble.load_site(file)


if __name__ == "__main__":
    raise SystemExit(main())
