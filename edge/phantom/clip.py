"""A script kept as a video file with its truth beside it.

The video is encoded by a `gst-launch-1.0` process that is fed raw frames: this package needs no GStreamer binding.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from edge.errors import ConfigError, EdgeError
from edge.phantom.effects import Picture
from edge.phantom.film import frame, render
from edge.phantom.optics import Optics
from edge.phantom.script import VERSION, Header, Script, Truth
from edge.types import Struct

_T = TypeVar("_T", bound=Struct)
Progress = Callable[[int, int], None]
NEEDED = {
    "fdsrc": "gstreamer1.0-tools",
    "rawvideoparse": "gstreamer1.0-plugins-bad",
    "videoconvert": "gstreamer1.0-plugins-base",
    "x264enc": "gstreamer1.0-plugins-ugly",
    "h264parse": "gstreamer1.0-plugins-bad",
    "matroskamux": "gstreamer1.0-plugins-good",
}  # element -> the Debian package that has it
MOST_WORKERS = 8
WORTH_WORKERS = 100  # frames: a worker takes seconds to start
BLOCK = 64  # frames
ENCODER_S = 120.0  # for the encoder to finish its file after the last frame


class Clip(Struct, frozen=True, kw_only=True):
    """A rendered script on disk."""

    video: Path
    truth: Path


def write_clip(script: Script, video: Path, truth: Path, progress: Progress | None = None) -> None:
    """Render `script` into `video` (Matroska, H.264) and `truth` (JSON lines, the header first).

    Both appear whole or not at all. `progress` is called with (frames done, frames in all). Raises EdgeError.
    """
    header = Header(version=VERSION, script=script, field=Optics(script.width, script.height, script.shape).outline)
    with _draft(video) as video_draft, _draft(truth) as truth_draft:
        with truth_draft.open("wb") as lines, _encoder(script, video_draft) as frames:
            lines.write(msgspec.json.encode(header) + b"\n")
            for rgb, known in _rendered(script):
                frames.write(rgb.tobytes())
                lines.write(msgspec.json.encode(msgspec.structs.replace(known, field=())) + b"\n")
                if progress is not None:
                    progress(known.frame + 1, script.frames)
        # The truth first: whoever finds the video finds its truth too.
        truth_draft.replace(truth)
        video_draft.replace(video)


def _rendered(script: Script) -> Iterator[tuple[Picture, Truth]]:
    """All frames in order, drawn by as many processes as there are processors when that is worth starting them."""
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    if workers == 1 or script.frames < WORTH_WORKERS:
        yield from render(script)
        return
    # Not forked: the caller may have threads, a progress bar's for one.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for first in range(0, script.frames, BLOCK):  # in blocks, so that finished frames never pile up
            block = range(first, min(first + BLOCK, script.frames))
            yield from pool.map(functools.partial(frame, script), block, chunksize=BLOCK // (2 * workers))


def ensure_clip(script: Script, cache_dir: Path, progress: Progress | None = None) -> Clip:
    """The clip of `script` from `cache_dir`, rendered now if it is not there.

    Two processes that want the same clip may both render it: each writes its own draft, and the frames are the same.
    """
    key = hashlib.sha256(msgspec.json.encode((VERSION, script))).hexdigest()[:16]
    clip = Clip(video=cache_dir / f"phantom-{key}.mkv", truth=cache_dir / f"phantom-{key}.jsonl")
    if not (clip.video.is_file() and clip.truth.is_file()):
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise EdgeError(f"{cache_dir}: cannot make the phantom's cache folder ({exc.strerror})") from exc
        write_clip(script, clip.video, clip.truth, progress)
    return clip


def read_truth(path: Path) -> tuple[Header, list[Truth]]:
    """Read what `write_clip` wrote. Raises ConfigError naming file and line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot read the phantom's truth ({exc.strerror})") from exc
    if not lines:
        raise ConfigError(f"{path}:1: empty, expected the header of a phantom's truth")
    header = _line(path, 1, lines[0], Header)
    if header.version != VERSION:
        raise ConfigError(f"{path}:1: truth of phantom version {header.version}, expected {VERSION}: render it again")
    truths = []
    for number, line in enumerate(lines[1:], start=2):
        known = _line(path, number, line, Truth)
        if known.frame != number - 2:
            raise ConfigError(f"{path}:{number}: frame {known.frame}, expected {number - 2}")
        truths.append(msgspec.structs.replace(known, field=header.field))
    if len(truths) != header.script.frames:
        raise ConfigError(f"{path}:{len(lines)}: ends after {len(truths)} frames, expected {header.script.frames}")
    return header, truths


def _line(path: Path, number: int, line: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{path}:{number}: not a phantom's {kind.__name__.lower()} ({exc})") from exc


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A file of our own beside `path`, to be moved there when whole; removed if it was not."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as exc:
        raise EdgeError(f"{path}: cannot write the phantom's clip ({exc.strerror})") from exc
    os.close(handle)
    draft = Path(name)
    try:
        draft.chmod(0o644)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _encoder(script: Script, video: Path) -> Iterator[IO[bytes]]:
    """Takes raw RGB frames; `video` is complete when the block ends."""
    _need_elements()
    # One thread: with more, x264 does not repeat itself to the bit.
    launch = (
        "gst-launch-1.0 -q fdsrc fd=0 ! rawvideoparse format=rgb "
        f"width={script.width} height={script.height} framerate={script.fps}/1 "
        f"! videoconvert ! video/x-raw,format=I420 ! x264enc pass=qual quantizer=19 "
        f"speed-preset=superfast key-int-max={script.fps} bframes=0 threads=1 "
        "! h264parse ! matroskamux ! filesink"
    )
    command = [*launch.split(), f"location={video}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # the encoder is gone: what it said follows
            yield process.stdin
            process.stdin.close()
        said = process.stderr.read().decode(errors="replace").strip()
        if process.wait(ENCODER_S) != 0 or not video.stat().st_size:
            reason = said.splitlines()[0] if said else f"exit code {process.returncode}"
            raise EdgeError(f"{video}: the encoder failed: {reason}")
    finally:
        process.kill()  # harmless when it has ended
        process.wait()
        process.stderr.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _need_elements() -> None:
    if shutil.which("gst-launch-1.0") is None:
        raise EdgeError("gst-launch-1.0: not found, needed to encode the phantom's clip (package gstreamer1.0-tools)")
    inspect = shutil.which("gst-inspect-1.0")
    if inspect is None:
        return
    for element, package in NEEDED.items():
        if subprocess.run([inspect, "--exists", element], capture_output=True, check=False).returncode:
            raise EdgeError(f"GStreamer element {element}: not found, needed to encode the phantom's clip ({package})")
