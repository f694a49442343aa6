"""Cameras and streams that dusty-nv's `jetson_utils` opens: MIPI CSI above all. For a box on which that package is.

The package is built on the device (CMake, with jetson-inference); what PyPI has under the name is something else. It is
imported when this source is chosen, and never needed otherwise. Its limits, which the other sources have not:

* It copies. Its "zero copy" is mapped memory after a copy by the processor, and cropping and scaling are kernels of
  its own: three passes over a picture before ours. Frames lie in mapped memory, which host and GPU read.
* It says nothing of a cable. Loss, freeze and placeholders are judged by the pictures alone; a call that waits cannot
  be hurried, so that a loss is noticed one timeout later.
* Nobody looks for the endoscope's field: give its corners, or "whole". There are no key frames and no clips.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from edge.capture import field as fields
from edge.capture.evidence import Look, S, Seen
from edge.capture.inputs import shown
from edge.capture.look import Looker
from edge.capture.signal import Act, Signal
from edge.errors import CaptureError
from edge.memory import host
from edge.memory.mapped import MappedImage
from edge.types import HOST, Field, Frame, Gap, Memory, Ring, SignalState, SourceStats

log = logging.getLogger(__name__)

FIRST_PICTURE_S = 10.0  # a CSI camera's pipeline takes its time
LONGEST_S = 0.25  # that one call may wait
COPIES = 3  # of a picture, by the package: to mapped memory, cropped, scaled


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "jetson_utils"`."""

    uri: str  # "csi://0", "/dev/video0", "rtsp://..."
    field: Literal["whole"] | list[tuple[float, float]]
    options: list[str] = []  # as its command lines take them: "--input-width=1920", "--input-rate=60"


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> JetsonUtilsSource:  # noqa: ARG001
    """`size`: (width, height) of the frames, which any backend can read. Raises CaptureError: no such package."""
    try:
        package = importlib.import_module("jetson_utils")
    except ImportError as exc:
        raise CaptureError(
            f"capture.source: jetson_utils cannot be imported ({exc}); it is built on the device, with jetson-inference"
        ) from exc
    if not hasattr(package, "videoSource"):
        raise CaptureError("capture.source: this jetson_utils is not dusty-nv's: it has no videoSource")
    return JetsonUtilsSource(package, config, size)


class JetsonUtilsSource:
    """See `types.RecordingSource`. Owner: one thread."""

    def __init__(self, package: Any, config: Config, size: tuple[int, int]) -> None:
        self._package, self._config, self._size, self._name = package, config, size, shown(config.uri)
        self._signal, self._looker = Signal(FIRST_PICTURE_S), Looker(*size)
        self._camera: Any = None
        self._cut: Any = None  # the field's rectangle, of the picture's own scale
        self._small: Any = None  # that, at model size: what is lent
        self._field: Field | None = None
        self._error = ""
        self._lent: MappedImage | None = None
        self._frames = self._seen = self._repeated = self._withheld = self._builds = 0
        self._origin_ns = self._last_ns = time.monotonic_ns()
        self.waited_ns = 0

    def describe(self) -> str:
        return f"{self._name}: field {fields.describe(self._field) if self._field else 'unknown'}"

    def keep_stills(self, rate: float, seconds: float) -> Ring:  # noqa: ARG002
        raise CaptureError(
            "capture.source jetson_utils makes no key frames, clips or display pictures:"
            " set record.key_frames, record.clips and display.enabled to false, or use v4l2"
        )

    def next(self, timeout_s: float) -> Frame | Gap:
        """A live picture, or a gap: at once when the state changed, else after `timeout_s`."""
        self._settle()
        self.waited_ns = 0
        deadline_ns = time.monotonic_ns() + round(timeout_s * S)
        while True:
            image = self._picture(min(LONGEST_S, timeout_s))
            now_ns = time.monotonic_ns()
            look = self._looker.look(image) if image is not None else None
            error, self._error = self._error, ""
            if error:
                self._stop()
            running = self._camera is not None
            verdict = self._signal.step(Seen(now_ns=now_ns, running=running, look=look, error=error))
            if verdict.changed:
                log.info("%s: %s %s", self._name, verdict.state.value, verdict.detail)
            if verdict.usable and image is not None and self._field is not None:
                return self._lend(image, now_ns, self._field)
            self._repeated += look is Look.REPEATED
            self._withheld += look not in (None, Look.REPEATED)
            if verdict.act is Act.STOP:
                self._stop()
            elif verdict.act is Act.BUILD:
                self._build()
            if verdict.changed or time.monotonic_ns() >= deadline_ns:
                return self._gap(verdict.state, verdict.detail, now_ns)

    def _lend(self, image: MappedImage, now_ns: int, field: Field) -> Frame:
        self._lent, self._last_ns = image, now_ns
        self._frames += 1
        media_ns = now_ns - self._origin_ns
        return Frame(
            seq=self._frames, image=image, captured_ns=now_ns, media_ns=media_ns, field=field, release=image.settle
        )

    def _gap(self, state: SignalState, detail: str, now_ns: int) -> Gap:
        media_ns = max(self._last_ns, now_ns - S // 2) - self._origin_ns
        return Gap(captured_ns=now_ns, media_ns=media_ns, state=state, detail=detail and f"{self._name}: {detail}")

    def _settle(self) -> None:
        """Before its memory is written again, or given back."""
        lent, self._lent = self._lent, None
        if lent is not None:
            lent.settle()

    # ---------------------------------------------------------------------------------------- pictures

    def _picture(self, seconds: float) -> MappedImage | None:
        """Cropped, scaled and black outside the field, written by the GPU and waited for."""
        before_ns = time.perf_counter_ns()
        try:
            if self._camera is None:
                time.sleep(seconds)
                return None
            whole = self._camera.Capture(format="rgba8", timeout=round(seconds * 1000))
        except Exception as exc:  # some releases raise a bare Exception at a timeout, others return None
            if not self._camera.IsStreaming():
                self._error = str(exc)
            return None
        finally:
            self.waited_ns += time.perf_counter_ns() - before_ns
        return None if whole is None else self._placed(whole)

    def _placed(self, whole: Any) -> MappedImage | None:
        try:
            if self._field is None:
                self._place(whole.width, whole.height)
            assert self._field is not None
            box = self._field
            self._package.cudaCrop(whole, self._cut, (box.x, box.y, box.x + box.width, box.y + box.height))
            self._package.cudaResize(self._cut, self._small)
            self._package.cudaDeviceSynchronize()
        except CaptureError:
            raise
        except Exception as exc:  # the package's own class is Exception
            self._error = str(exc)
            return None
        self._seen += 1
        width, height = self._size
        pointer = int(self._small.__cuda_array_interface__["data"][0])  # one address for host and GPU
        seen = host.HostImage(pointer, height, width, width * 4)
        host.blacken(seen, self._keep)
        return MappedImage(pointer, np.asarray(seen))

    def _place(self, width: int, height: int) -> None:
        """The first picture's size is known: where the field is, and room for it."""
        choice = self._config.field
        if not isinstance(choice, str):
            problem = fields.problem(choice, width, height)
            if problem:
                raise CaptureError(f"capture.field: {problem}")
        self._field = field = fields.whole(width, height) if isinstance(choice, str) else fields.fixed(choice)
        self._keep = fields.keep_mask(field, *self._size)
        allocate = self._package.cudaAllocMapped
        self._cut = allocate(width=field.width, height=field.height, format="rgba8")
        self._small = allocate(width=self._size[0], height=self._size[1], format="rgba8")

    def _build(self) -> None:
        self._stop()
        self._builds += 1
        try:
            self._camera = self._package.videoSource(self._config.uri, argv=self._config.options)
        except Exception as exc:  # as above
            self._error = str(exc)
        self._signal.built(time.monotonic_ns())

    def _stop(self) -> None:
        self._settle()
        camera, self._camera = self._camera, None
        self._field = self._cut = self._small = None
        if camera is not None:
            camera.Close()

    def stats(self) -> SourceStats:
        return SourceStats(
            frames=self._frames,
            repeated=self._repeated,
            withheld=self._withheld,
            memory="mapped",
            host_copies=self._seen * COPIES,
            rebuilds=max(0, self._builds - 1),
        )

    def close(self) -> None:
        self._stop()
