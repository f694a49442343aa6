"""The words of the system: what flows from the source to the rules. Standard library and msgspec only.

Units: `_ns` nanoseconds, `_px` pixels. Boxes are `(x0, y0, x1, y1)` in *source* pixels, x1/y1 exclusive.
Two clocks ride on every frame: `captured_ns` (CLOCK_MONOTONIC, for latency) and `media_ns` (the stream's own time,
for every rule: the same clip gives the same events at any speed).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

Box = tuple[float, float, float, float]


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every value below: immutable, strict."""


# --------------------------------------------------------------------------------------------- capture


class SignalState(str, enum.Enum):
    """What the source can say about its picture. Inference runs in `live` alone; `edge/capture/signal.py` has the
    table of what each means; `ended` is a file's alone."""

    STARTING = "starting"
    LIVE = "live"
    NO_SIGNAL = "no_signal"
    UNSTABLE = "unstable"
    UNSUPPORTED = "unsupported"
    FORMAT_CHANGED = "format_changed"
    FROZEN = "frozen"
    BLACK = "black"
    BARS = "bars"
    PROTECTED_SUSPECT = "protected_suspect"
    UNKNOWN_LAYOUT = "unknown_layout"
    DEVICE_GONE = "device_gone"
    ENDED = "ended"
    FAILED = "failed"


class Field(Struct, frozen=True, kw_only=True):
    """The endoscope's picture inside the tower's: its bounding rectangle and its corners.

    `x, y, width, height` in source pixels. `outline` is a convex polygon in source pixels; everything outside it is
    blackened before the model sees the frame (the tower writes the patient's name there).
    """

    x: int
    y: int
    width: int
    height: int
    outline: tuple[tuple[float, float], ...]


Memory = Literal["host", "mapped", "nvmm", "cuda"]
"""Where a frame's pixels lie, and the file in `edge/memory/` that knows how to reach them."""

HOST: tuple[Memory, ...] = ("host",)
"""The kinds of memory that a backend without a GPU reads frames from."""

DEVICE: tuple[Memory, ...] = ("nvmm", "cuda", "mapped", "host")
"""... and one on a GPU, which takes each where it lies, but for the host's, which it has to copy."""


class Frame:
    """One picture on loan from its source; `release()` gives the buffer back. Owner: the core loop's thread.

    `image` has `__array_interface__` (or `__cuda_array_interface__`): RGBA uint8 `(H, W, 4)` at model size, black
    outside the field. It must not be touched after `release()`; a reader that works asynchronously on a GPU says so
    (`memory.device.DeviceImage.hold`), and `release()` waits for it.
    """

    __slots__ = ("_release", "captured_ns", "field", "image", "media_ns", "seq")

    def __init__(
        self, *, seq: int, image: Any, captured_ns: int, media_ns: int, field: Field, release: Any = None
    ) -> None:
        self.seq = seq
        self.image = image
        self.captured_ns = captured_ns
        self.media_ns = media_ns
        self.field = field
        self._release = release

    def release(self) -> None:
        """Give the buffer back. Calling it twice is harmless."""
        release, self._release, self.image = self._release, None, None
        if release is not None:
            release()


class Still(Struct, frozen=True, kw_only=True):
    """One picture of the endoscope's field as a JPEG of `width` x `height` px; black outside the field's outline."""

    captured_ns: int
    media_ns: int
    jpeg: bytes
    width: int
    height: int
    field: Field


class Gap(Struct, frozen=True, kw_only=True):
    """No frame, and why: what a source answers when its timeout passed or its state changed.

    In state `live` it only means that the next frame is late. `final`: no frame will ever follow.
    """

    captured_ns: int
    media_ns: int
    state: SignalState
    detail: str = ""
    final: bool = False


class SourceStats(Struct, frozen=True, kw_only=True):
    """Counters of a source since it was opened."""

    frames: int = 0  # handed out
    dropped: int = 0  # decoded, but replaced by a newer one before the loop asked, or let go to spare the board
    spared: int = 0  # of the dropped, those let go because the degradation ladder says so
    repeated: int = 0  # the picture before it once more, to the bit: seen, never handed out
    withheld: int = 0  # pictures that came while the signal was not live, or were no live picture: never handed out
    memory: Memory = "host"  # where frames lie
    host_copies: int = 0  # whole pictures copied within host memory by our own code (0 on a good day)
    h2d: int = 0  # whole pictures brought to the GPU (or a Jetson's video hardware) by the profile's elements
    d2h: int = 0  # ... and from there to host memory
    glances: int = 0  # tiny pictures brought to host memory to be looked at, where frames stay on the GPU
    rebuilds: int = 0  # pipelines built anew: after a change of format, a loss of signal, a fault


class Ring(Protocol):
    """The last seconds of the endoscope's field: what key frames and clips are cut from. Owner: the loop's thread."""

    def nearest(self, media_ns: int) -> Still | None:
        """The one that was taken nearest to that time."""

    def newest(self) -> Still | None:
        """None before the first."""

    def between(self, first_ns: int, last_ns: int) -> Sequence[Still]:
        """Those of that stretch of media time, oldest first."""


class Source(Protocol):
    """Where frames come from. `edge/capture/NAME.py` has a frozen `Config` and `open(config, size, reads) -> Source`,
    where `reads` are the kinds of memory that the backend takes frames from.

    Used from one thread. `next` never raises for a missing signal; it raises CaptureError when the source is broken.
    `waited_ns` is how long the last `next` was blocked, waiting for a picture.
    """

    waited_ns: int

    def next(self, timeout_s: float) -> Frame | Gap: ...

    def stats(self) -> SourceStats: ...

    def close(self) -> None:
        """Stop within 3 s, whatever the hardware does."""


class RecordingSource(Source, Protocol):
    """What `open` of a source returns: it can also keep the last seconds."""

    def describe(self) -> str:
        """What comes in and what is cut out of it, for people."""

    def keep_stills(self, rate: float, seconds: float) -> Ring:
        """As JPEGs, at most `rate` a second, from now on. Called before the first `next`."""


# ----------------------------------------------------------------------------------------------- infer


class TensorSpec(Struct, frozen=True, kw_only=True):
    """One I/O tensor of a model: numpy dtype name and fixed shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


Precision = Literal["int8", "int8_trt", "fp16_trt", "fp32"]
"""A model's files: uint8 activations (ONNX Runtime), int8 with zero point 0 (TensorRT), float16 by casts (TensorRT,
for GPUs on which 8 bits are not faster), the float reference."""


class ModelFile(Struct, frozen=True, kw_only=True):
    path: str
    sha256: str


class ModelHead(Struct, frozen=True, kw_only=True):
    """What one output of the model says, and its labels in the order of the output's channels (axis 1).

    `segment` and `dense` are maps (1, C, h, w), `classify` logits (1, C), one a label. `ordinal` labels rise, and its
    logits (1, C) are of the C questions "is it above label i?", so it has one label more.
    """

    name: str
    output: str
    kind: Literal["segment", "classify", "ordinal", "dense"]
    labels: list[str]


class Tolerance(Struct, frozen=True, kw_only=True):
    """How far an output may lie from the golden one, in the output's own unit.

    Processors round differently, and a step in an early layer becomes several in the last: up to `share` of the values
    may be further off than `near`, none further than `most`.
    """

    near: float
    share: float
    most: float


class Golden(Struct, frozen=True, kw_only=True):
    """Pictures and what the int8 file answered to them where it was released: `tolerance[output][precision]`."""

    path: str
    sha256: str
    tolerance: dict[str, dict[Precision, Tolerance]]


class Measurement(Struct, frozen=True, kw_only=True):
    """One figure, and the command that printed it. `ci95`: its 95 % interval (low, high) by file."""

    dataset: str
    metric: str
    command: str
    fp32: float | None = None
    int8: float | None = None
    int8_trt: float | None = None
    fp16_trt: float | None = None
    ci95: dict[Precision, tuple[float, float]] = msgspec.field(default_factory=dict)
    n: int | None = None  # pictures, or whatever the metric counts
    head: str = ""  # whose figure it is; "" for the whole model (speed)


class Manifest(Struct, frozen=True, kw_only=True):
    """`model.toml`. `labels` is what a region found may be called: the labels of the segment heads."""

    name: str
    version: str
    labels: list[str]
    licence: str
    training_data: list[str]
    files: dict[Precision, ModelFile]
    input: TensorSpec
    outputs: list[TensorSpec]
    heads: list[ModelHead]
    measured: list[Measurement]
    golden: Golden


class Model(Struct, frozen=True, kw_only=True):
    """A model file whose digest was checked: `content` is exactly the released ONNX."""

    manifest: Manifest
    precision: Precision
    path: str
    sha256: str
    content: bytes

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the frames it eats."""
        _, height, width, _ = self.manifest.input.shape
        return width, height


class Copies(Struct, frozen=True, kw_only=True):
    """Frames that a backend copied since it was opened. 0 each where it reads every frame where it lies."""

    host: int = 0  # by the processor: their rows were padded, or a GPU cannot read them where they were
    h2d: int = 0  # to the GPU
    device: int = 0  # within the GPU's memory, because their rows were padded

    def __add__(self, more: Copies) -> Copies:
        return Copies(host=self.host + more.host, h2d=self.h2d + more.h2d, device=self.device + more.device)


class Backend(Protocol):
    """Runs one model. `edge/infer/NAME.py` has a frozen `Config` and `open(config, model) -> Backend`; where it runs
    another file than int8, `precision(config) -> Precision`; and where it takes frames from other memory than the
    host's, `reads(config) -> tuple[Memory, ...]`."""

    name: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    @property
    def copies(self) -> Copies: ...

    def infer(self, image: Any) -> Mapping[str, Any]:
        """`image`: (H, W, 4) uint8 with `__array_interface__`, or on a GPU backend `__cuda_array_interface__`. Returns
        numpy arrays by output name, **valid until the next call**. Raises InferenceError."""

    def close(self) -> None: ...


# ----------------------------------------------------------------------------------------------- board


class Zone(Struct, frozen=True, kw_only=True):
    """One temperature sensor. None: it is switched off, or cannot be read; or it has no limit."""

    temperature_c: float | None = None
    limit_c: float | None = None  # from where on the board slows itself down


class BoardReading(Struct, frozen=True, kw_only=True):
    """What the machine says of itself at one moment. None: it does not say, or nothing that can be believed."""

    kind: str  # "jetson", "pc": the file in `edge/board` that read it
    read_ns: int  # CLOCK_MONOTONIC, when the reading was complete
    model: str | None = None
    release: str | None = None  # of Jetson Linux ("36.4.3"), or of the kernel
    power_mode: str | None = None
    zones: dict[str, Zone] = msgspec.field(default_factory=dict)
    power_w: dict[str, float | None] = msgspec.field(default_factory=dict)  # by rail
    gpu_load: float | None = None  # 0..1
    clocks_mhz: dict[str, float | None] = msgspec.field(default_factory=dict)
    fan: float | None = None  # 0..1 of what drives it
    fan_rpm: float | None = None
    throttled: tuple[str, ...] = ()  # what the hardware holds back now: "cpu", "gpu", "under-voltage"
    throttle_events: dict[str, int] = msgspec.field(default_factory=dict)  # since the machine started
    problems: tuple[str, ...] = ()  # files that are there and say nothing that can be believed

    def nearest(self) -> tuple[str, float] | None:
        """The zone that is nearest to its limit, and how many degrees are left. None: no zone says both."""
        rooms = {
            name: zone.limit_c - zone.temperature_c
            for name, zone in self.zones.items()
            if zone.limit_c is not None and zone.temperature_c is not None
        }
        return min(rooms.items(), key=lambda room: room[1], default=None)


# ----------------------------------------------------------------------------------------------- heads


class Detection(Struct, frozen=True, kw_only=True):
    """One region in one frame."""

    label: str
    box: Box
    score: float  # 0..1
    area: float  # share of the picture, 0..1


class Classification(Struct, frozen=True, kw_only=True):
    """What one head says of the whole picture of one frame. A head that is unsure says nothing."""

    head: str  # the model's output that says so: "landmark", "preparation", "mayo"
    label: str
    score: float  # the label's probability, 0..1
    grade: float | None = None  # of ordered labels: the expected place in their list, 0 for the first


class View(str, enum.Enum):
    """What the picture is good for, worst first in the order of the quality head's table."""

    BLACK = "black"
    OUT_OF_BODY = "out_of_body"
    POOR = "poor"
    GOOD = "good"


class Quality(Struct, frozen=True, kw_only=True):
    """The picture's own condition, from the model's `thumbnail` and `detail` outputs. All 0..1 unless said.

    `view` and `reason` may come from a learned output instead; its reasons are its labels.
    """

    view: View
    reason: str  # "", "dark", "glare", "blur"; learned: "blurred", "obscured", ...
    luma: float
    glare: float  # share of saturated pixels
    redness: float  # mean R / mean (R+G+B)
    detail: float  # mean absolute Laplacian, 0..255


class Findings(Struct, frozen=True, kw_only=True):
    """What all heads said of one frame."""

    seq: int
    captured_ns: int
    media_ns: int
    detections: tuple[Detection, ...] = ()
    classifications: tuple[Classification, ...] = ()  # one a head at most
    quality: Quality | None = None
    spared: bool = False  # the heads that judge whole pictures were not asked, to spare the board
