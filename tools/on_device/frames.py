"""A test pattern whose every pixel changes with every frame, sent through a pipeline and compared bit by bit.

The reference is the same pattern from the same GStreamer in host memory: `videotestsrc`'s zone plate is a function of
the frame's number alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.capture import gst
from edge.errors import CaptureError
from edge.memory.mapper import Mapper

Pixels = npt.NDArray[np.uint8]  # (H, W, 4) RGBA
Reader = Callable[[Any], Pixels]  # a copy of what lies in an image

FPS = 60
FIRST_WITHIN_S, NEXT_WITHIN_S = 20.0, 5.0
ROUNDING = 2  # of 255: what a converter may be off without being wrong
REMEMBERED = 16  # frames: a pool has 8 buffers, what is stale lies one round back


def where(image: Any) -> tuple[int, int]:
    """The address of an image's pixels, and the bytes from row to row."""
    interface = getattr(image, "__cuda_array_interface__", None) or image.__array_interface__
    width = interface["shape"][1]
    return int(interface["data"][0]), int((interface.get("strides") or (width * 4,))[0])


def to_host(image: Any) -> Pixels:
    """A copy of the pixels, wherever they lie."""
    interface = getattr(image, "__cuda_array_interface__", None)
    if interface is None:
        return np.array(image)
    from edge.memory import gpu

    (height, width, _), (place, pitch) = interface["shape"], where(image)

    rows = np.empty((height, pitch), np.uint8)
    stream = gpu.Stream()
    try:
        gpu.copy_to_host(rows, place, stream)
        stream.synchronize()
    finally:
        stream.close()
    return rows[:, : width * 4].reshape(height, width, 4).copy()


def pattern(size: tuple[int, int], count: int) -> str:
    width, height = size
    return (
        f"videotestsrc num-buffers={count} pattern=zone-plate kx2=20 ky2=20 kt=1"
        f" ! video/x-raw,format=RGBA,width={width},height={height},framerate={FPS}/1 ! identity name=tap"
    )


def host(size: tuple[int, int], count: int) -> gst.Pipeline:
    """The reference."""
    return gst.Pipeline(f"{pattern(size, count)} ! {_SINK}", "reference")


def through_nvmm(size: tuple[int, int], count: int) -> Tally:
    """The pattern through the video hardware into NVMM, read by CUDA where it lies, and compared.

    Raises CaptureError, GpuError.
    """
    from edge.memory import nvmm

    chain = "nvvidconv bl-output=false output-buffers=8 ! video/x-raw(memory:NVMM),format=RGBA"
    with closing(nvmm.open()) as mapper:
        return through(mapper, chain, "NVMM", size, count)


def through(mapper: Mapper, chain: str, name: str, size: tuple[int, int], count: int, read: Reader = to_host) -> Tally:
    """The pattern through a chain of elements whose frames the mapper reads, compared. `name`: for errors.

    Raises CaptureError, GpuError.
    """
    with ExitStack() as stack:
        reference = stack.enter_context(closing(host(size, count)))
        pipeline = gst.Pipeline(f"{pattern(size, count)} ! {chain} ! {_SINK}", name, mapper=mapper)
        stack.enter_context(closing(pipeline))  # before its mapper, which knows what it still has mapped
        return tally(play(pipeline, read), play(reference))


@contextmanager
def on_gpu(pictures: Pixels) -> Iterator[list[Any]]:
    """Each of `pictures`, (N, H, W, 4), in the GPU's memory, where a frame of a pool would lie, as a `DeviceImage`. The
    GPU must be current in this thread. Raises GpuError."""
    from edge.memory import device, gpu

    _, height, width, _ = pictures.shape
    with ExitStack() as stack:
        stream = stack.enter_context(closing(gpu.Stream()))
        images = []
        for picture in pictures:
            buffer = stack.enter_context(closing(gpu.Linear(picture.nbytes)))
            gpu.copy_to_device(buffer.pointer, picture, stream)
            images.append(device.DeviceImage(buffer.pointer, height, width, width * 4))
        stream.synchronize()
        yield images


_SINK = "appsink name=sink sync=false max-buffers=2 enable-last-sample=false"


class Seen(NamedTuple):
    """One frame. `place`: the address that it lay at; `pitch`: bytes from row to row."""

    number: int
    pixels: Pixels
    place: int
    pitch: int


def play(pipeline: gst.Pipeline, read: Reader = to_host) -> Iterator[Seen]:
    """Every frame, copied to the host as soon as it is there: nobody waits for anything that the pipeline does not
    itself wait for. Raises CaptureError."""
    pipeline.play()
    within_s = FIRST_WITHIN_S
    while True:
        picture = pipeline.pull(within_s)
        if picture is None:
            problem = pipeline.poll_error()
            if problem is None and pipeline.ended:
                return
            raise CaptureError(f"{pipeline.name}: {problem or f'no frame within {within_s:.0f} s'}")
        try:
            pixels, (place, pitch) = read(picture.image), where(picture.image)
        finally:
            picture.release()
        yield Seen(round(picture.stream_ns * FPS / 1e9), pixels, place, pitch)
        within_s = NEXT_WITHIN_S


class Verdict(NamedTuple):
    """How one frame compares. `rows`: how many differ; `worst`: the largest difference of a byte."""

    kind: str  # "same", "rounded", "stale" (older content, all of it), "torn" (in part), "wrong"
    rows: int = 0
    worst: int = 0


def compare(got: Pixels, expected: Pixels, older: Iterable[Pixels]) -> Verdict:
    """`older`: what the buffer may have held before."""
    if got.shape != expected.shape:
        return Verdict("wrong", got.shape[0], 255)
    differs = (got != expected).any(axis=(1, 2))
    rows = int(differs.sum())
    if not rows:
        return Verdict("same")
    worst = int(np.abs(got.astype(np.int16) - expected).max())
    if worst <= ROUNDING:
        return Verdict("rounded", rows, worst)
    for before in older:
        if (got[differs] == before[differs]).all():
            return Verdict("stale" if rows == len(got) else "torn", rows, worst)
    return Verdict("wrong", rows, worst)


class Tally(NamedTuple):
    """What became of all frames."""

    kinds: Counter[str]
    first_bad: str  # "frame 17: torn, 408 rows, up to 255 off", or ""
    places: set[int]
    pitches: set[int]


def tally(frames: Iterable[Seen], references: Iterable[Seen]) -> Tally:
    """Frames against references, by their numbers; references come in order, and one for each frame."""
    expected = iter(references)
    older: deque[Pixels] = deque(maxlen=REMEMBERED)
    kinds: Counter[str] = Counter()
    places: set[int] = set()
    pitches: set[int] = set()
    first_bad = ""
    for frame in frames:
        reference = next(expected)
        while reference.number < frame.number:
            older.append(reference.pixels)
            reference = next(expected)
        verdict = compare(frame.pixels, reference.pixels, reversed(older))
        older.append(reference.pixels)
        kinds[verdict.kind] += 1
        places.add(frame.place)
        pitches.add(frame.pitch)
        if verdict.kind not in ("same", "rounded") and not first_bad:
            first_bad = f"frame {frame.number}: {verdict.kind}, {verdict.rows} rows, up to {verdict.worst} off"
    return Tally(kinds, first_bad, places, pitches)
