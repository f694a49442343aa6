"""From detections in single frames to regions that persist: association, confirmation, loss."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edge.decide.config import TracksConfig
from edge.decide.curve import Curve
from edge.decide.moment import Moment, to_ns
from edge.messages import FindingEnded
from edge.types import Box, Detection

FARTHEST_PX = 1e6
"""A box beyond is not a box; it also keeps the arithmetic below finite."""
LONGEST_PREDICTION_S = 0.3
"""Tissue does not move straight for longer."""
MOST_TRACKS = 64
"""Bounds the cost of a frame whatever the heads say."""
COVERED = 0.6
"""An unmatched detection inside a matched track's box by this share is a piece of that region, not a new one."""


HALF_SHARP = 2.2
"""A picture of this detail is half as good as a perfectly sharp one: about where one is called blurred."""
HALF_NEAR = 0.02
"""A region of this share of the picture is shown half as well as one that fills it."""


def worth(score: float, detail: float | None, share: float) -> float:
    """How good a picture of a region this is, 0..1: what the model is sure of, sharp, and large. `detail`:
    `Quality.detail`, 0..255, None where nothing measures it. `share`: of the picture."""
    sharp = 1.0 if detail is None else detail / (detail + HALF_SHARP) if 0.0 < detail <= 255.0 else 0.0
    near = share / (share + HALF_NEAR) if 0.0 < share <= 1.0 else 0.0
    return score * sharp * near


class Track:
    """One region over time. `id` is 0 until it is confirmed, so ids count confirmed regions: 1, 2, 3 ..."""

    __slots__ = (
        "best_box", "best_score", "best_seen_ns", "best_worth", "box", "confirmed_ns", "curve", "first_seen_ns",
        "frames", "history", "id", "idle_ns", "label", "last_seen_ns", "missed", "score", "seen", "velocity",
    )  # fmt: skip

    def __init__(self, detection: Detection, at: Moment, detail: float | None = None) -> None:
        self.id = 0
        self.label = detection.label
        self.confirmed_ns = 0
        self.first_seen_ns = self.last_seen_ns = self.best_seen_ns = at.ns
        self.box = self.best_box = detection.box
        self.score = self.best_score = detection.score
        self.best_worth = worth(detection.score, detail, detection.area), detection.score
        self.curve = Curve(at.ns)
        self.curve.add(at.ns, detection.score)
        self.velocity = (0.0, 0.0)  # of the centre, px/s
        self.frames = 1
        self.history = 1  # one bit a frame, newest lowest: seen
        self.seen = True  # in the last frame
        self.missed = 0  # frames in a row
        self.idle_ns = 0  # missed for so long, time held not counted

    def predicted(self, at: Moment) -> Box:
        ahead_s = min((at.ns - self.last_seen_ns) / 1e9, LONGEST_PREDICTION_S)
        across, down = self.velocity[0] * ahead_s, self.velocity[1] * ahead_s
        x0, y0, x1, y1 = self.box
        return (x0 + across, y0 + down, x1 + across, y1 + down)

    def see(self, detection: Detection, at: Moment, detail: float | None = None) -> None:
        """`detail`: of the whole picture."""
        elapsed_s = (at.ns - self.last_seen_ns) / 1e9
        if elapsed_s > 0:
            old, new = _centre(self.box), _centre(detection.box)
            self.velocity = (
                0.5 * (self.velocity[0] + (new[0] - old[0]) / elapsed_s),
                0.5 * (self.velocity[1] + (new[1] - old[1]) / elapsed_s),
            )
        self.box, self.score, self.last_seen_ns = detection.box, detection.score, at.ns
        self.frames += 1
        self.seen, self.missed, self.idle_ns = True, 0, 0
        self.best_score = max(self.best_score, detection.score)
        self.curve.add(at.ns, detection.score)
        value = worth(detection.score, detail, detection.area), detection.score
        if value > self.best_worth:
            self.best_worth, self.best_box, self.best_seen_ns = value, detection.box, at.ns

    def miss(self, elapsed_ns: int, *, held: bool) -> None:
        self.seen = False
        if not held:
            self.missed += 1
            self.idle_ns += elapsed_ns

    def ended(self, at: Moment, procedure: str) -> FindingEnded:
        return FindingEnded(
            label=self.label,
            track=self.id,
            procedure=procedure,
            captured_ns=at.captured_ns,
            media_ns=self.last_seen_ns,
            first_seen_ns=self.first_seen_ns,
            frames=self.frames,
            best_score=self.best_score,
            best_box=self.best_box,
            best_seen_ns=self.best_seen_ns,
            scores=tuple(round(score, 3) for score in self.curve.slots),
            scores_every_ns=self.curve.every_ns,
        )


class Tracks:
    """All regions followed now. The order of a frame's detections does not matter."""

    def __init__(self, config: TracksConfig) -> None:
        self._config = config
        self._end_after_ns = to_ns(config.end_after_s)
        self._window = (1 << config.window) - 1
        self._tracks: list[Track] = []
        self._last_id = 0
        self._last_ns: int | None = None

    @property
    def confirmed(self) -> list[Track]:
        """By id."""
        return sorted((track for track in self._tracks if track.id), key=lambda track: track.id)

    def step(
        self,
        at: Moment,
        detections: Iterable[Detection],
        *,
        trusted: bool,
        held: bool,
        confirm: bool,
        detail: float | None = None,
    ) -> list[Track]:
        """One frame on. Returns the confirmed tracks that ended with it, by id.

        `trusted`: the picture may begin and confirm tracks; otherwise detections only keep tracks where they are.
        `held`: what is not seen now is not missed. `confirm`: there is a procedure to confirm for. `detail`: the
        picture's, where something measures it; of two views the sharper one is remembered.
        """
        elapsed_ns = at.ns - self._last_ns if self._last_ns is not None else 0
        self._last_ns = at.ns
        usable = sorted(filter(_usable, detections), key=_canonical)[:MOST_TRACKS]
        predicted = [track.predicted(at) for track in self._tracks]
        matches = self._match(usable, predicted)
        before = len(self._tracks)
        if trusted:
            matched_boxes = [predicted[index] for index in matches.values()]
            self._begin(at, [d for n, d in enumerate(usable) if n not in matches], matched_boxes, detail)
        seen = {index: usable[n] for n, index in matches.items()}
        for index, track in enumerate(self._tracks[:before]):
            if index in seen:
                track.see(seen[index], at, detail)
            else:
                track.miss(elapsed_ns, held=held)
            if trusted:
                track.history = (track.history << 1 | track.seen) & self._window
        if trusted and confirm:
            self._confirm(at)
        return self._drop_lost()

    def clear(self) -> list[Track]:
        """Forget everything, and number from 1 again. Returns the confirmed tracks, by id."""
        ended, self._tracks, self._last_id = self.confirmed, [], 0
        return ended

    def _match(self, detections: list[Detection], predicted: list[Box]) -> dict[int, int]:
        """Detection index → track index, the best pairs first."""
        pairs = [
            (affinity, -index, -n)
            for index, (track, box) in enumerate(zip(self._tracks, predicted, strict=True))
            for n, detection in enumerate(detections)
            if detection.label == track.label and (affinity := self._affinity(box, detection.box)) > 0.0
        ]
        matches: dict[int, int] = {}
        taken: set[int] = set()
        for _, minus_index, minus_n in sorted(pairs, reverse=True):
            if -minus_n not in matches and -minus_index not in taken:
                matches[-minus_n] = -minus_index
                taken.add(-minus_index)
        return matches

    def _affinity(self, predicted: Box, box: Box) -> float:
        """0 for a pair that cannot be; else overlap counts more than nearness."""
        overlap = _iou(predicted, box)
        reach_px = self._config.reach * max(_diagonal(predicted), _diagonal(box))
        nearness = 1.0 - math.dist(_centre(predicted), _centre(box)) / reach_px if reach_px > 0 else 0.0
        if overlap < self._config.min_iou and nearness <= 0.0:
            return 0.0
        return 2.0 * overlap + max(nearness, 0.0)

    def _begin(self, at: Moment, unmatched: list[Detection], matched_boxes: list[Box], detail: float | None) -> None:
        for detection in unmatched:
            strong = detection.score >= self._config.start_score
            piece = any(_intersection(detection.box, box) >= COVERED * _size(detection.box) for box in matched_boxes)
            if strong and not piece and len(self._tracks) < MOST_TRACKS:
                self._tracks.append(Track(detection, at, detail))

    def _confirm(self, at: Moment) -> None:
        for track in self._tracks:
            if not track.id and track.history.bit_count() >= self._config.confirm:
                self._last_id += 1
                track.id, track.confirmed_ns = self._last_id, at.ns

    def _drop_lost(self) -> list[Track]:
        lost = [track for track in self._tracks if self._is_lost(track)]
        if lost:
            self._tracks = [track for track in self._tracks if track not in lost]
        return sorted((track for track in lost if track.id), key=lambda track: track.id)

    def _is_lost(self, track: Track) -> bool:
        if not track.id and track.history == 0:
            return True  # not seen in the whole window: it cannot be confirmed any sooner than a new one
        return track.missed >= self._config.end_after_frames and track.idle_ns >= self._end_after_ns


def _usable(detection: Detection) -> bool:
    """A real box and a real score. Heads may say anything; NaN fails every comparison."""
    x0, y0, x1, y1 = detection.box
    across = -FARTHEST_PX <= x0 < x1 <= FARTHEST_PX
    down = -FARTHEST_PX <= y0 < y1 <= FARTHEST_PX
    return across and down and 0.0 <= detection.score <= 1.0


def _canonical(detection: Detection) -> tuple[float, str, Box]:
    return (-detection.score, detection.label, detection.box)


def _centre(box: Box) -> tuple[float, float]:
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)


def _diagonal(box: Box) -> float:
    return math.hypot(box[2] - box[0], box[3] - box[1])


def _size(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _intersection(a: Box, b: Box) -> float:
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    return across * down if across > 0 and down > 0 else 0.0


def _iou(a: Box, b: Box) -> float:
    shared = _intersection(a, b)
    return shared / (_size(a) + _size(b) - shared) if shared else 0.0
