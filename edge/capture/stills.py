"""The last seconds of the endoscope's picture, as JPEGs: what key frames and clips are cut from.

A branch of the pipeline makes them, behind a leaky queue, so that it can be late but never in the way:

    tap. ! queue (1, leaky) ! valve ! crop+scale ! mask ! JPEG ! appsink "still"

The mask is part of that branch: no pixel from outside the field is ever encoded. Our thread opens the valve when the
next one is due, and takes the bytes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from edge.capture import gst
from edge.types import Field, Still

S = 1_000_000_000
MAILBOX = 4  # JPEGs that may wait for our thread
QUALITY = 85
JPEG_RAW = "video/x-raw,format=I420,colorimetry=1:4:0:0"  # full range, which is what readers of a JPEG take it for


class Stills:
    """Owner: the thread that pulls frames. The last `seconds` are kept, about `rate` pictures a second."""

    def __init__(self, rate: float, seconds: float) -> None:
        self._every_ns, self._keep_ns = round(S / rate), round(seconds * S)
        self._ring: deque[Still] = deque()
        self._due_ns = 0
        self._open = False

    def __iter__(self) -> Iterator[Still]:
        """Oldest first."""
        return iter(tuple(self._ring))

    def nearest(self, media_ns: int) -> Still | None:
        """The one that was taken nearest to that time."""
        return min(self._ring, key=lambda still: abs(still.media_ns - media_ns), default=None)

    def newest(self) -> Still | None:
        return self._ring[-1] if self._ring else None

    def between(self, first_ns: int, last_ns: int) -> list[Still]:
        """Those of that stretch of media time, oldest first."""
        return [still for still in self._ring if first_ns <= still.media_ns <= last_ns]

    def take(
        self,
        pipeline: gst.Pipeline,
        field: Field,
        size: tuple[int, int],
        began_ns: tuple[int, int],
        wanted: bool = True,
    ) -> None:
        """What waits in the branch, into the ring; not `wanted`: out of the way. Called for every picture.

        `began_ns`: captured and media time of the pipeline's running time 0.
        """
        now_ns, (width, height) = time.monotonic_ns(), size
        while (waiting := pipeline.pull_bytes("still")) is not None:
            jpeg, running_ns = waiting[0], max(0, waiting[1])
            captured_ns, media_ns = began_ns[0] + running_ns, began_ns[1] + running_ns
            if wanted:
                self.keep(
                    Still(
                        jpeg=jpeg, width=width, height=height, field=field, captured_ns=captured_ns, media_ns=media_ns
                    )
                )
                self._due_ns = max(self._due_ns + self._every_ns, now_ns)
        self._let(pipeline, wanted and now_ns >= self._due_ns)

    def before_seek(self, pipeline: gst.Pipeline) -> None:
        """A closed valve holds back the seek's flush, too: what lies behind it would stay at the end of its stream, and
        would end the whole pipeline with the next picture."""
        self._let(pipeline, True)

    def _let(self, pipeline: gst.Pipeline, through: bool) -> None:
        if through != self._open:
            pipeline.let("still_valve", through)
            self._open = through

    def keep(self, still: Still) -> None:
        self._ring.append(still)
        while self._ring[0].media_ns < still.media_ns - self._keep_ns:
            self._ring.popleft()

    def begin(self) -> None:
        """A new pipeline: its valve is closed."""
        self._open = False

    def branch(self, cut: str, field: Field, size: tuple[int, int]) -> tuple[str, dict[str, dict[str, Any]]]:
        """The description of the branch, and its elements' properties. `cut`: crop and scale to BGRA of `size`."""
        mask, properties = "", dict[str, dict[str, Any]]()
        svg = mask_svg(field, size)
        if svg:
            mask, properties = " ! rsvgoverlay name=mask", {"mask": {"data": svg}}
        return (
            "tap. ! queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0"
            f" ! valve name=still_valve drop=true ! {cut}{mask}"
            f" ! videoconvert n-threads=1 ! {JPEG_RAW} ! jpegenc quality={QUALITY}"
            f" ! appsink name=still max-buffers={MAILBOX} drop=true async=false sync=false qos=false"
            " enable-last-sample=false"
        ), properties


def mask_svg(field: Field, size: tuple[int, int]) -> str:
    """A drawing that blackens what is outside the field's outline; "" where nothing is."""
    width, height = size
    across, down = width / field.width, height / field.height
    points = [((x - field.x) * across, (y - field.y) * down) for x, y in field.outline]
    corners = {(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)}
    if len(points) == 4 and {(round(x, 3), round(y, 3)) for x, y in points} == corners:
        return ""
    outer = f"M-1,-1 H{width + 1} V{height + 1} H-1 Z"
    inner = " L".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"><path fill="#000"'
        f' fill-rule="evenodd" shape-rendering="crispEdges" d="{outer} M{inner} Z"/></svg>'
    )
