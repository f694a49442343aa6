"""Any video file that GStreamer decodes, at its own pace (`real`) or as fast as it can be worked off (`max`).

    filesrc ! decodebin ! videocrop(tap) ! convert+scale ! RGBA, model size ! appsink

Pixels on the way, CPU: the decoder writes a picture, `videocrop` copies the field's rectangle (only when there is a
border), convert+scale writes the RGBA frame. That frame's memory is what the model reads; our code copies nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge.capture import field as fields
from edge.capture import gst, profiles
from edge.capture.profiles import Crop
from edge.capture.stills import Stills
from edge.errors import CaptureError, GpuError
from edge.types import HOST, Field, Frame, Gap, Memory, SignalState, SourceStats

log = logging.getLogger(__name__)

SMALLEST_PX = 32  # of either side of a source picture
OPEN_WITHIN_S = 20.0  # to the first decoded frame
PROBE_FRAMES = 12  # lit frames that a field is found from ...
PROBE_EVERY = 8  # ... this many decoded frames apart ...
PROBE_DECODE = 600  # ... among at most this many
PROBE_LIT = 12  # mean luma under which a frame says nothing about the field
CUT_SHORT_NS = 1_000_000_000  # a file that ends this much before its own claim was cut off


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "file"`."""

    path: str
    rate: Literal["real", "max"] = "real"
    loop: bool = False
    field: Literal["auto", "whole"] | list[tuple[float, float]] = "auto"  # or its corners, in source pixels


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> FileSource:
    """`size`: (width, height) of the frames. Raises CaptureError: missing, or nothing that GStreamer can decode."""
    return FileSource(config, size, reads)


Feed = tuple[str, dict[str, dict[str, Any]]]


class FileSource:
    """See `types.RecordingSource`. Owner: one thread."""

    def __init__(self, config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> None:
        self._config, self._size = config, size
        self._path = Path(config.path).expanduser()
        self._check()
        self._profile = profiles.choose("auto", reads)
        self._mapper = profiles.open_mapper(self._profile)
        self._state = SignalState.STARTING
        self._detail = ""
        self._lent: gst.Picture | None = None
        self._frames = self._received_before = self._copies = self._rebuilds = 0
        self._media_ns = self._last_ns = -1
        self._loop_offset_ns = 0
        self._pipeline: gst.Pipeline | None = None
        self.waited_ns = 0
        self.stills: Stills | None = None
        try:
            self._start(after_ns=-1)
        except GpuError as exc:
            self._mapper.close()
            raise CaptureError(f"{self._path}: {exc}") from exc
        except BaseException:
            self._mapper.close()
            raise

    def describe(self) -> str:
        return f"{self._path}: {self._format}, field {fields.describe(self.field)}"

    def keep_stills(self, rate: float, seconds: float) -> Stills:
        """See `types.RecordingSource`. The pipeline begins anew, with the branch that makes them."""
        self.stills = Stills(rate, seconds)
        self._stop()
        self._received_before = 0  # nothing of it was asked for yet
        self._build(self._source_size, after_ns=-1)
        return self.stills

    # ------------------------------------------------------------------------------------------ frames

    def next(self, timeout_s: float) -> Frame | Gap:
        try:
            return self._next(timeout_s)
        except GpuError as exc:
            return self._finish(SignalState.FAILED, f"{self._path}: broken after {self._seconds()}: {exc}")

    def _next(self, timeout_s: float) -> Frame | Gap:
        self._return_lent()
        self.waited_ns = 0
        if self._pipeline is None:
            return self._gap(self._state)
        before_ns = time.perf_counter_ns()
        picture = self._pipeline.pull(timeout_s)
        self.waited_ns = time.perf_counter_ns() - before_ns
        if self._pipeline.format_changed():
            if picture is not None:
                picture.release()  # cropped for the old format
            return self._rebuild()
        if picture is None:
            return self._why_nothing()
        return self._lend(picture)

    def _lend(self, picture: gst.Picture) -> Frame:
        assert self._pipeline is not None
        if self.stills is not None:
            began_ns = self._pipeline.base_time_ns(), self._loop_offset_ns
            self.stills.take(self._pipeline, self.field, profiles.still_size(self._crop), began_ns)
        self._lent = picture
        self._last_ns = picture.stream_ns
        self._media_ns = self._loop_offset_ns + picture.stream_ns
        self._frames += 1
        self._copies += picture.copied
        self._mapper.blacken(picture.image)
        if self._config.rate == "real" and picture.running_ns >= 0:
            captured_ns = self._pipeline.base_time_ns() + picture.running_ns  # when it was due: the sink's own clock
        else:
            captured_ns = time.monotonic_ns()
        self._state = SignalState.LIVE
        return Frame(
            seq=self._frames,
            image=picture.image,
            captured_ns=captured_ns,
            media_ns=self._media_ns,
            field=self.field,
            release=lambda: self._return_lent(picture),
        )

    def _return_lent(self, only: gst.Picture | None = None) -> None:
        """The lent picture, or `only` that one: a late release must not take the next one."""
        lent = self._lent
        if lent is not None and (only is None or only is lent):
            self._lent = None
            lent.release()

    def _why_nothing(self) -> Gap:
        assert self._pipeline is not None
        error = self._pipeline.poll_error()
        if error is not None:
            return self._finish(SignalState.FAILED, f"{self._path}: broken after {self._seconds()}: {error}")
        if not self._pipeline.ended:
            return self._gap(SignalState.NO_SIGNAL)
        claimed_ns = self._pipeline.duration_ns()
        if claimed_ns - self._last_ns > CUT_SHORT_NS:
            claim = f"{claimed_ns / 1e9:.1f} s"
            return self._finish(
                SignalState.FAILED, f"{self._path}: cut off: ends after {self._seconds()}, should last {claim}"
            )
        if self._config.loop:
            return self._rewind()
        return self._finish(SignalState.ENDED, "")

    def _seconds(self) -> str:
        return f"{max(0, self._last_ns) / 1e9:.1f} s"

    def _gap(self, state: SignalState, detail: str = "") -> Gap:
        self._state = state
        detail = self._unnamed(detail)
        if detail:
            self._detail = detail
        return Gap(
            captured_ns=time.monotonic_ns(),
            media_ns=max(0, self._media_ns),
            state=state,
            detail=detail or self._detail,
            final=self._pipeline is None,
        )

    def _unnamed(self, text: str) -> str:
        """Without the file's name: a gap leaves the box, and people name recordings after patients."""
        return text.replace(str(self._path), "the recording").replace(self._path.name, "the recording")

    def _finish(self, state: SignalState, detail: str) -> Gap:
        self._stop()
        return self._gap(state, detail)

    # --------------------------------------------------------------------------- start, change, rewind

    def _start(self, after_ns: int) -> None:
        """Probe size and field from `after_ns` on, then build the pipeline for exactly that format."""
        size, lit = self._probe(after_ns)
        if min(size.width, size.height) < SMALLEST_PX:
            raise CaptureError(
                f"{self._path}: the picture is {size.width}x{size.height},"
                f" at least {SMALLEST_PX}x{SMALLEST_PX} is needed"
            )
        self.field = self._choose_field(size, lit)
        self._mapper.keep(fields.keep_mask(self.field, *self._size))
        log.info("%s: %s, field %s", self._path, size.description, fields.describe(self.field))
        self._build(size, after_ns)

    def _build(self, size: gst.Size, after_ns: int) -> None:
        self._source_size, self._crop = size, Crop(size.width, size.height, self.field)
        description, properties = self._description()
        self._pipeline = pipeline = gst.Pipeline(description, str(self._path), properties, self._mapper)
        ready = pipeline.preroll(OPEN_WITHIN_S)
        if ready and after_ns >= 0:
            ready = pipeline.seek(after_ns + 1) and pipeline.preroll(OPEN_WITHIN_S)
        if not ready or pipeline.source_size() is None:
            error = pipeline.poll_error() or f"no picture within {OPEN_WITHIN_S:.0f} s"
            self._stop()
            raise CaptureError(f"{self._path}: not a video that GStreamer can decode: {error}")
        self._format = size.description
        self.expected_frames = pipeline.expected_frames()
        pipeline.play()

    def _check(self) -> None:
        """Raises CaptureError when there is nothing to read."""
        check_readable(self._path)

    def _head(self) -> Feed:
        """What comes before the decoder: its description, and its elements' properties."""
        return "filesrc name=file", {"file": {"location": str(self._path)}}

    def _description(self) -> Feed:
        """For `gst-launch`, and its elements' properties."""
        width, height = self._size
        live = self._config.rate == "real"
        mailbox = "max-buffers=1 drop=true sync=true" if live else "max-buffers=16 drop=false sync=false"
        frame = self._profile.frame.format(width=width, height=height, **self._crop.values())
        head, properties = self._head()
        description = (
            f"{head} ! decodebin ! tee name=tap tap. ! {frame}"
            f" ! appsink name=sink {mailbox} qos=false enable-last-sample=false"
        )
        if self.stills is None:
            return description, properties
        self.stills.begin()
        size = profiles.still_size(self._crop)
        cut = self._profile.still.format(still_width=size[0], still_height=size[1], **self._crop.values())
        branch, masks = self.stills.branch(cut, self.field, size)
        return f"{description} {branch}", properties | masks

    def _choose_field(self, size: gst.Size, lit: list[npt.NDArray[np.uint8]]) -> Field:
        if isinstance(self._config.field, list):
            return _fixed_field(self._config.field, size)
        if self._config.field == "whole":
            return fields.whole(size.width, size.height)
        found = fields.find(lit, size.width, size.height) if lit else None
        if found is None:  # the tower's overlay may be anywhere: nothing is better than somebody's name
            raise CaptureError(
                f"{self._path}: no endoscopic field found; give its corners in capture.field,"
                ' or "whole" (--field whole) where the endoscope\'s picture is all there is'
            )
        return found

    def _probe(self, after_ns: int) -> tuple[gst.Size, list[npt.NDArray[np.uint8]]]:
        """Source size, and up to PROBE_FRAMES luma pictures with something in them."""
        head, properties = self._head()
        pipeline = gst.Pipeline(
            f"{head} ! decodebin ! identity name=tap ! {self._profile.whole}"
            " ! appsink name=sink max-buffers=2 sync=false qos=false enable-last-sample=false",
            str(self._path),
            properties,
        )
        lit: list[npt.NDArray[np.uint8]] = []
        try:
            ready = pipeline.preroll(OPEN_WITHIN_S)
            if ready and after_ns >= 0:
                ready = pipeline.seek(after_ns + 1) and pipeline.preroll(OPEN_WITHIN_S)
            size = pipeline.source_size() if ready else None
            if size is None:
                error = pipeline.poll_error() or f"no picture within {OPEN_WITHIN_S:.0f} s"
                raise CaptureError(f"{self._path}: not a video that GStreamer can decode: {error}")
            pipeline.play()
            for count in range(PROBE_DECODE):
                picture = pipeline.pull(OPEN_WITHIN_S)
                if picture is None or pipeline.format_changed():
                    if picture is not None:
                        picture.release()
                    break
                if count % PROBE_EVERY == 0:
                    luma = np.asarray(picture.image)[:, :, :3].mean(axis=2).astype(np.uint8)
                    if luma.mean() > PROBE_LIT:
                        lit.append(luma)
                picture.release()
                if len(lit) == PROBE_FRAMES:
                    break
            return size, lit
        finally:
            pipeline.close()

    def _rebuild(self) -> Gap:
        """The format changed: GStreamer 1.20-1.22 cannot be trusted to renegotiate, so a new pipeline goes on."""
        before = self._format
        self._stop()
        self._rebuilds += 1
        try:
            self._start(after_ns=self._last_ns)
            if self._format == before:
                raise CaptureError("there is no way to seek past the change")
        except CaptureError as exc:
            changed = f"{self._path}: the format ({before}) changed after {self._seconds()}, the rest is not analysed"
            return self._finish(SignalState.FAILED, f"{changed}: {exc}")
        return self._gap(SignalState.FORMAT_CHANGED, f"{self._format}, field now {fields.describe(self.field)}")

    def _rewind(self) -> Gap:
        assert self._pipeline is not None
        self._received_before += self._pipeline.received()
        # One frame time between the last picture of a round and the first of the next keeps media time rising.
        self._loop_offset_ns = self._media_ns + 40_000_000
        self._last_ns = -1
        if self.stills is not None:
            self.stills.before_seek(self._pipeline)
        if not self._pipeline.seek(0):
            return self._finish(SignalState.FAILED, f"{self._path}: cannot be played again: it is not seekable")
        return self._gap(SignalState.STARTING, "")

    # -------------------------------------------------------------------------------------------- rest

    def stats(self) -> SourceStats:
        """At full rate nothing is dropped: the appsink waits for the loop, and has some pictures in hand."""
        received = self._received_before + (self._pipeline.received() if self._pipeline else 0)
        waiting = self._pipeline is not None
        return SourceStats(
            frames=self._frames,
            dropped=max(0, received - self._frames - waiting) if self._config.rate == "real" else 0,
            memory=self._profile.memory,
            host_copies=self._copies + self._mapper.host_copies,
            h2d=self._frames * self._profile.h2d,
            d2h=self._frames * self._profile.d2h,
            rebuilds=self._rebuilds,
        )

    def _stop(self) -> None:
        self._return_lent()
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            self._received_before += pipeline.received()
            pipeline.close()

    def close(self) -> None:
        self._stop()
        self._mapper.close()


def check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as exc:
        raise CaptureError(f"{path}: cannot be read: {exc.strerror}") from exc
    if not first:
        raise CaptureError(f"{path}: the file is empty, a video was expected")


def _fixed_field(corners: list[tuple[float, float]], size: gst.Size) -> Field:
    problem = fields.problem(corners, size.width, size.height)
    if problem:
        raise CaptureError(f"capture.field: {problem}")
    return fields.fixed(corners)
