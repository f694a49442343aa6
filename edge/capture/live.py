"""What all live sources share: a pipeline that is built, watched, and built anew; frames only while the signal is live.

    input ! prepare ! tee ! frame: crop+scale ! RGBA, model size ! appsink "sink"    in any memory, and where that is
                                                 a GPU's, tiny, ! appsink "look"    to be looked at
                          ! whole: scale      ! RGBA, small      ! appsink "whole"   where the field is
                          ! still: crop+scale ! mask ! JPEG      ! appsink "still"   for key frames and clips

A loop asks `next`; each step looks at the driver and at the picture, and the state machine (`signal.py`) says what to
do. A change of format, a loss, a fault: always a new pipeline, never a renegotiated one. No thread of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge.capture import field as fields
from edge.capture import gst, profiles
from edge.capture.evidence import Layout, Look, S, Seen
from edge.capture.glance import Glance
from edge.capture.inputs import Feed, Input, LiveConfig, Reading
from edge.capture.layout import Finder, Watch
from edge.capture.look import Looker
from edge.capture.profiles import Crop
from edge.capture.rate import Rate
from edge.capture.signal import Act, Signal, Verdict
from edge.capture.stills import Stills
from edge.errors import CaptureError, GpuError
from edge.types import HOST, Frame, Gap, Memory, SignalState, SourceStats

log = logging.getLogger(__name__)

SLICE_S = 0.01  # the longest that a driver's word waits while no picture comes
STALE_NS = S // 2  # an older picture is not one of now
FIND_EVERY_NS, WATCH_EVERY_NS = S // 50, S // 5  # looks at the whole picture: while the field is searched, and after


class LiveSource:
    """See `types.Source`. Owner: one thread."""

    def __init__(
        self, source: Input, config: LiveConfig, size: tuple[int, int], reads: Sequence[Memory] = HOST
    ) -> None:
        """`reads`: the kinds of memory that the backend takes frames from. Raises CaptureError."""
        self._input, self._config, self._size = source, config, size
        self._profile = profiles.choose(config.profile, reads)
        self._mapper = profiles.open_mapper(self._profile)
        self._glance = Glance() if self._profile.look else None
        self._signal = Signal(source.first_s)
        self._looker = Looker(*size)
        self._pipeline: gst.Pipeline | None = None
        self._feed = Feed("", {})
        self._shape: gst.Size | None = None  # what enters this pipeline; None until its first picture
        self._crop = Crop()
        self._layout = Layout.SEARCHING
        self._misfit = ""
        self._finder: Finder | None = None
        self._watch: Watch | None = None
        self._whole_at_ns = 0
        self._rate = Rate()
        self._error = ""
        self._lent: gst.Picture | None = None
        self._frames = self._pulled = self._received = self._repeated = self._withheld = 0
        self._copies = self._builds = 0
        self._due = Act.NONE  # before the next step
        self._origin_ns = time.monotonic_ns()
        self._lent_ns = self._taken_ns = self._origin_ns  # when the last frame, the last picture was taken
        self.stills: Stills | None = None
        self.waited_ns = 0

    def describe(self) -> str:
        form = self._shape.description if self._shape else "no picture yet"
        field = fields.describe(self._crop.field) if self._crop.field else "unknown"
        return f"{self._input.name}: {form}, field {field}"

    def keep_stills(self, rate: float, seconds: float) -> Stills:
        """See `types.RecordingSource`."""
        self.stills = Stills(rate, seconds)
        return self.stills

    # ------------------------------------------------------------------------------------------ frames

    def next(self, timeout_s: float) -> Frame | Gap:
        """A live picture, or a gap: at once when the state changed, else after `timeout_s`."""
        self._return_lent()
        self.waited_ns = 0
        deadline_ns = time.monotonic_ns() + round(timeout_s * S)
        while True:
            self._act()
            picture = self._pull(min(SLICE_S, timeout_s))
            captured_ns, seen = self._see(picture)
            verdict = self._signal.step(seen)
            self._take_stills(verdict.state)
            if verdict.changed:
                self._say(verdict)
            if verdict.usable and picture is not None:
                return self._lend(picture, captured_ns)
            if picture is not None:
                picture.release()
                self._repeated += seen.look is Look.REPEATED
                self._withheld += seen.look is not Look.REPEATED
            self._due = verdict.act
            if verdict.changed or time.monotonic_ns() >= deadline_ns:
                return self._gap(verdict, seen.now_ns)

    def _take_stills(self, state: SignalState) -> None:
        """Of a live signal alone."""
        if self.stills is None or self._pipeline is None or self._crop.field is None:
            return
        began_ns = self._pipeline.base_time_ns()
        self.stills.take(
            self._pipeline,
            self._crop.field,
            profiles.still_size(self._crop),
            (began_ns, began_ns - self._origin_ns),
            wanted=state is SignalState.LIVE and self._shape is not None,
        )

    def _say(self, verdict: Verdict) -> None:
        level = logging.INFO if verdict.state is SignalState.LIVE else logging.WARNING
        log.log(level, "%s: %s%s", self._input.name, verdict.state.value, verdict.detail and f": {verdict.detail}")

    def _pull(self, seconds: float) -> gst.Picture | None:
        before_ns = time.perf_counter_ns()
        picture = None
        if self._pipeline is None:
            self._input.wait(seconds)
        else:
            try:
                picture = self._pipeline.pull(seconds)
            except GpuError as exc:
                self._error = str(exc)
        self.waited_ns += time.perf_counter_ns() - before_ns
        if picture is not None:
            self._pulled += 1
            self._copies += picture.copied
        return picture

    def _see(self, picture: gst.Picture | None) -> tuple[int, Seen]:
        """When the picture was taken, and everything that is known now."""
        now_ns = time.monotonic_ns()
        reading, error = self._listen()
        changed = self._changed(reading)
        captured_ns, look = now_ns, None
        pipeline = self._pipeline
        if pipeline is not None and picture is not None and not changed:
            captured_ns = _taken_ns(pipeline, picture, now_ns)
            changed = self._first_picture(pipeline) if self._shape is None else ""
            if not changed and self._pipeline is pipeline:
                look = self._look(pipeline, picture, captured_ns, now_ns)
                self._see_whole(pipeline, now_ns)
            if self._pipeline is not pipeline:
                look = None  # it came out of the pipeline before
        if error:
            self._stop()
        return captured_ns, Seen(
            now_ns=now_ns,
            link=reading.link,
            running=self._pipeline is not None,
            look=look,
            layout=self._layout,
            misfit=self._misfit,
            changed=changed,
            error=error,
            rate=self._rate.at(now_ns, self._pipeline),
            nominal=(self._shape.fps if self._shape else 0.0) or self._feed.fps,
        )

    def _listen(self) -> tuple[Reading, str]:
        """The driver's word, and what went wrong since the last time."""
        error, self._error = self._error, ""
        if self._pipeline is not None:
            error = error or self._pipeline.poll_error() or ("the stream ended" if self._pipeline.ended else "")
        return self._input.read(self._pipeline), error

    def _changed(self, reading: Reading) -> str:
        """The new format in words, when it is not the one that this pipeline was built for."""
        if self._pipeline is None:
            return ""
        if reading.format and self._feed.format and reading.format != self._feed.format:
            return f"{self._feed.format} became {reading.format}"
        if self._shape is not None and self._pipeline.format_changed():
            now = self._pipeline.source_size()
            return f"{self._shape.description} became {now.description if now else 'something else'}"
        return ""

    def _look(self, pipeline: gst.Pipeline, picture: gst.Picture, captured_ns: int, now_ns: int) -> Look | None:
        """None: nobody can say, so it is not used."""
        if now_ns - captured_ns > STALE_NS:
            return Look.STALE
        try:
            self._mapper.blacken(picture.image)
        except GpuError as exc:
            self._error = str(exc)
            return None
        again, self._taken_ns = captured_ns <= self._taken_ns, captured_ns
        if again:  # a driver that gives the same buffer twice
            return Look.REPEATED
        if self._glance is not None:
            return self._glance.look(pipeline, picture.running_ns)
        return self._looker.look(picture.image)

    def _lend(self, picture: gst.Picture, captured_ns: int) -> Frame:
        assert self._crop.field is not None
        self._lent, self._lent_ns = picture, captured_ns
        self._frames += 1
        return Frame(
            seq=self._frames,
            image=picture.image,
            captured_ns=captured_ns,
            media_ns=captured_ns - self._origin_ns,
            field=self._crop.field,
            release=lambda: self._return_lent(picture),
        )

    def _return_lent(self, only: gst.Picture | None = None) -> None:
        """The lent picture, or `only` that one: a late release must not take the next one."""
        lent = self._lent
        if lent is not None and (only is None or only is lent):
            self._lent = None
            try:
                lent.release()
            except GpuError as exc:
                self._error = str(exc)

    def _gap(self, verdict: Verdict, now_ns: int) -> Gap:
        """Its media time lags by what a picture may be old, so that a picture after a gap never steps back."""
        media_ns = max(self._lent_ns, now_ns - STALE_NS) - self._origin_ns
        text = f"{self._input.name}: {verdict.detail}" if verdict.detail else ""
        return Gap(captured_ns=now_ns, media_ns=media_ns, state=verdict.state, detail=text)

    # ------------------------------------------------------------------------------------------- field

    def _first_picture(self, pipeline: gst.Pipeline) -> str:
        """What comes is known now: is it what this pipeline crops for? Otherwise the new format, in words."""
        shape = pipeline.source_size()
        assert shape is not None  # a picture came through
        if self._crop.field is not None and (shape.width, shape.height) != self._crop[:2]:
            self._crop = Crop()
            return f"{shape.width}x{shape.height}"
        self._shape = shape
        log.info("%s: %s", self._input.name, shape.description)
        if self._crop.field is None:
            self._place(shape)
        return ""

    def _place(self, shape: gst.Size) -> None:
        """Where the field is in pictures of this shape, or the beginning of a search for it."""
        choice = self._config.field
        width, height = shape.width, shape.height
        if choice == "whole":
            crop = Crop(width, height, fields.whole(width, height))
            if self.stills is None:
                self._crop, self._layout = crop, Layout.KNOWN
            else:  # their branch is made for a known field only
                self._build(crop)
        elif isinstance(choice, list):
            self._place_fixed(choice, width, height)
        else:
            self._finder = Finder(width, height)

    def _place_fixed(self, corners: list[tuple[float, float]], width: int, height: int) -> None:
        problem = fields.problem(corners, width, height)
        if problem:
            self._layout, self._misfit = Layout.UNKNOWN, f"capture.field: {problem}"
        else:
            self._build(Crop(width, height, fields.fixed(corners)))

    def _see_whole(self, pipeline: gst.Pipeline, now_ns: int) -> None:
        """Look at the whole picture now and then: where is the field, and is it still there?"""
        every_ns = WATCH_EVERY_NS if self._layout is Layout.KNOWN else FIND_EVERY_NS
        if (self._finder is None and self._watch is None) or now_ns - self._whole_at_ns < every_ns:
            return
        whole = pipeline.pull(0, "whole")
        pipeline.let("whole_valve", whole is None)  # open until one came through
        if whole is None:
            return
        self._whole_at_ns = now_ns
        luma = np.asarray(whole.image)[:, :, :3].mean(axis=2).astype(np.uint8)
        whole.release()
        if self._finder is not None:
            self._find(self._finder, luma, now_ns)
        elif self._watch is not None:
            self._check(self._watch, luma)

    def _find(self, finder: Finder, luma: Any, now_ns: int) -> None:
        self._layout = finder.step(luma, now_ns)
        if finder.field is None:
            return
        assert self._shape is not None
        assert finder.background is not None
        width, height = self._shape.width, self._shape.height
        log.info("%s: field %s", self._input.name, fields.describe(finder.field))
        self._build(Crop(width, height, finder.field))
        self._watch = Watch(finder.field, width, height, finder.background)

    def _check(self, watch: Watch, luma: Any) -> None:
        if not watch.fits(luma):
            log.warning("%s: the layout of the picture changed; the field is searched again", self._input.name)
            self._build(Crop())

    # ---------------------------------------------------------------------------------------- pipeline

    def _act(self) -> None:
        """What the last step asked for: only now, for a pipeline's end takes time, and a change is said before it."""
        act, self._due = self._due, Act.NONE
        if act is Act.STOP:
            self._stop()
        elif act is Act.BUILD:
            self._build(Crop())

    def _build(self, crop: Crop) -> None:
        """A pipeline for exactly this crop, in place of any other. A failure is told at the next step.

        A field is good for one pipeline: after a loss or a change another tower, another format may be at the cable.
        """
        self._stop()
        self._builds += 1
        self._crop, self._finder, self._watch, self._misfit = crop, None, None, ""
        self._layout = Layout.KNOWN if crop.field else Layout.SEARCHING
        try:
            self._mapper.keep(fields.keep_mask(crop.field or fields.whole(*self._size), *self._size))
            if self._glance is not None:
                self._glance.begin(crop.field)
            self._feed = self._input.open()
            description, properties = self._description(crop)
            self._pipeline = gst.Pipeline(
                description, self._input.name, self._feed.properties | properties, self._mapper
            )
            self._pipeline.play()
        except (CaptureError, GpuError) as exc:
            self._error = str(exc)
        self._rate = Rate()
        self._signal.built(time.monotonic_ns())

    def _description(self, crop: Crop) -> tuple[str, dict[str, dict[str, Any]]]:
        """For `gst-launch`, and its own elements' properties. Without a field nothing is made that could be kept."""
        profile = self._profile
        mailbox = "max-buffers=1 drop=true async=false sync=false qos=false enable-last-sample=false"
        description = (
            f"{self._feed.description} ! {profile.prepare} ! tee name=tap"
            f" {profiles.frame_branch(profile, crop, self._size, mailbox)}"
            f" tap. ! valve name=whole_valve drop=true ! {profile.whole} ! appsink name=whole {mailbox}"
        )
        if self.stills is None or crop.field is None:
            return description, {}
        self.stills.begin()
        size = profiles.still_size(crop)
        cut = profile.still.format(still_width=size[0], still_height=size[1], **crop.values())
        branch, properties = self.stills.branch(cut, crop.field, size)
        return f"{description} {branch}", properties

    def _stop(self) -> None:
        self._return_lent()
        pipeline, self._pipeline = self._pipeline, None
        self._shape = None
        if pipeline is not None:
            self._received += pipeline.received()
            pipeline.close()

    # -------------------------------------------------------------------------------------------- rest

    def stats(self) -> SourceStats:
        received = self._received + (self._pipeline.received() if self._pipeline else 0)
        return SourceStats(
            frames=self._frames,
            dropped=max(0, received - self._pulled - (self._pipeline is not None)),
            repeated=self._repeated,
            withheld=self._withheld,
            memory=self._profile.memory,
            host_copies=self._copies + self._mapper.host_copies,
            h2d=self._pulled * self._profile.h2d,
            d2h=self._pulled * self._profile.d2h,
            glances=self._glance.count if self._glance else 0,
            rebuilds=max(0, self._builds - 1),
        )

    def close(self) -> None:
        self._stop()
        self._input.close()
        self._mapper.close()


def _taken_ns(pipeline: gst.Pipeline, picture: gst.Picture, now_ns: int) -> int:
    """The driver's own time of the picture, on the monotonic clock."""
    if picture.running_ns < 0:
        return now_ns
    return min(now_ns, pipeline.base_time_ns() + picture.running_ns)
