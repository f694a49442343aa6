"""The whole of a Jetson's capture over fakes: real GStreamer, real `LiveSource`, real profiles, real bindings of CUDA.

Faked are `nvvidconv`, libnvbufsurface and libcuda, and all three say so when memory is used out of turn. No pixel of a
frame may come to the host, and nothing may be left mapped.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge.capture import profiles
from edge.capture.inputs import Feed, LiveConfig, Stream
from edge.capture.live import LiveSource
from edge.errors import CaptureError
from edge.memory.mapped import MappedImage
from edge.types import Frame, Gap, Memory, SignalState
from tests.support.fake_cuda import FakeCuda
from tests.support.fake_nvmm import FakeSurfaces
from tests.support.waiting import next_that

SIZE = (60, 48)  # rows of 240 bytes in a pitch of 256
PATIENCE_S = 60
READS: tuple[Memory, ...] = ("nvmm", "mapped", "host")
RAW = "video/x-raw,format=RGBA,width=160,height=128,framerate=25/1"
SNOW = f"videotestsrc is-live=true pattern=snow ! {RAW}"
FIELD = [(20.0, 16.0), (140.0, 16.0), (140.0, 112.0), (20.0, 112.0)]
CORNERED = [(60.0, 16.0), (140.0, 16.0), (140.0, 112.0), (20.0, 112.0), (20.0, 48.0)]
PIXEL_COPIES = ("cuMemcpyDtoHAsync", "cuMemcpy2DAsync")
NO_DISPLAY, ILLEGAL_ADDRESS = "EGL has no display here", 700
_Is = SignalState


@pytest.fixture
def opened(surfaces: FakeSurfaces) -> Iterator[Callable[..., LiveSource]]:
    sources: list[LiveSource] = []

    def make(description: str = SNOW, profile: str = "jetson-orin", field: Any = FIELD) -> LiveSource:
        source = LiveSource(
            Stream("a tower", Feed(description, {}), first_s=20.0),
            LiveConfig(field=field, profile=profile),
            SIZE,
            READS,
        )
        sources.append(source)
        return source

    yield make
    for source in sources:
        source.close()
        source.close()


def frames(source: LiveSource, count: int) -> Iterator[Frame]:
    """`count` frames; each is given back when the next is asked for."""
    deadline = time.monotonic() + PATIENCE_S
    while count:
        item = source.next(0.2)
        assert time.monotonic() < deadline, f"{item} {source.stats()}"
        if isinstance(item, Frame):
            count -= 1
            yield item
            item.release()


def test_frames_stay_where_the_hardware_wrote_them(
    cuda: FakeCuda, surfaces: FakeSurfaces, opened: Callable[..., LiveSource]
) -> None:
    source = opened()
    pointers, pictures = [], []
    for frame in frames(source, 20):
        pointers.append(frame.image.__cuda_array_interface__["data"][0])
        assert frame.image.__cuda_array_interface__["strides"] == (256, 4, 1)
        assert not hasattr(frame.image, "__array_interface__")
        pictures.append(cuda.picture(frame.image))
    assert len(set(pointers)) <= 8  # the pool's
    assert min(picture.std() for picture in pictures) > 20
    assert all((one != other).any() for one, other in itertools.pairwise(pictures))
    stats = source.stats()
    assert (stats.memory, stats.frames, stats.host_copies, stats.d2h) == ("nvmm", 20, 0, 0)
    assert stats.h2d == stats.frames + stats.withheld + stats.repeated
    assert stats.glances >= stats.frames
    assert [cuda.calls(name) for name in PIXEL_COPIES] == [0, 0]
    assert cuda.calls("cuMemcpyHtoDAsync") == 0  # a field without corners needs no mask


def test_the_outside_is_black_before_anybody_sees_the_frame(cuda: FakeCuda, opened: Callable[..., LiveSource]) -> None:
    source = opened(field=CORNERED)
    for frame in frames(source, 5):
        picture = cuda.picture(frame.image)
        assert not picture[:7, :7].any()
        assert picture[24:, 30:, :3].mean() > 60
    masks = cuda.calls("cuMemcpyHtoDAsync")
    assert masks <= source.stats().rebuilds + 1
    assert cuda.calls("cuLaunchKernel") >= 5


@pytest.mark.parametrize(
    ("pattern", "state"),
    [
        ("black", _Is.BLACK),
        ("smpte", _Is.BARS),
        ("blue", _Is.PROTECTED_SUSPECT),
        ("checkers-8", _Is.FROZEN),
        ("gradient", _Is.FROZEN),
    ],
)
def test_placeholders_are_states_and_never_frames(
    opened: Callable[..., LiveSource], pattern: str, state: SignalState
) -> None:
    source = opened(SNOW.replace("snow", pattern))
    item = next_that(source, lambda item: item.state is state if isinstance(item, Gap) else True)
    assert isinstance(item, Gap)
    assert source.stats().frames == 0


def test_live_then_frozen_then_live(opened: Callable[..., LiveSource]) -> None:
    parts = " ".join(
        f"videotestsrc is-live=true pattern={pattern} num-buffers={count} ! {RAW} ! join."
        for pattern, count in (("snow", 40), ("checkers-8", 60), ("snow", 100000))
    )
    source = opened(f"concat name=join {parts} join. ! identity", field="whole")
    next_that(source, lambda item: isinstance(item, Frame))
    next_that(source, lambda item: isinstance(item, Gap) and item.state is _Is.FROZEN)
    next_that(source, lambda item: isinstance(item, Frame))
    assert source.stats().repeated > 5


def test_new_pipelines_leave_nothing_mapped(
    cuda: FakeCuda, surfaces: FakeSurfaces, opened: Callable[..., LiveSource]
) -> None:
    """The stream ends again and again. The fakes complain of a surface that is freed with an image, or of an image
    that CUDA still holds."""
    source = opened(SNOW.replace("snow", "snow num-buffers=8"))
    next_that(source, lambda _: source.stats().rebuilds >= 5)
    assert source.stats().frames > 0
    source.close()
    assert (surfaces.images, surfaces.mistakes()) == (0, 0)
    assert cuda.living() == {}


def test_a_frame_goes_back_when_its_reader_is_done(
    cuda: FakeCuda, surfaces: FakeSurfaces, opened: Callable[..., LiveSource]
) -> None:
    source, asked = opened(), list[int]()
    frame = next(frames(source, 1))
    frame.image.hold(lambda: asked.append(1))
    frame.release()
    assert asked == [1]
    again = next(frames(source, 1))
    again.image.hold(lambda: asked.append(2))
    source.close()  # nobody released it
    assert asked == [1, 2]
    assert surfaces.images == 0


def test_without_an_egl_display_the_box_says_so_and_hands_out_nothing(
    surfaces: FakeSurfaces, opened: Callable[..., LiveSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.capture.evidence.RETRY_NS", (10**7,))
    surfaces.display(False)
    source = opened()
    item = next_that(source, lambda item: isinstance(item, Gap) and item.state is _Is.FAILED)
    assert isinstance(item, Gap)
    assert NO_DISPLAY in item.detail
    assert source.stats().frames == 0
    source.close()


@pytest.mark.parametrize("name", ["cuGraphicsEGLRegisterImage", "cuLaunchKernel"])
def test_one_failure_costs_a_pipeline_and_not_the_run(
    cuda: FakeCuda, surfaces: FakeSurfaces, opened: Callable[..., LiveSource], name: str
) -> None:
    source = opened(field=CORNERED)
    for _ in frames(source, 2):
        pass
    cuda.fail(name, ILLEGAL_ADDRESS, nth=1)
    if name == "cuGraphicsEGLRegisterImage":
        source._mapper.let_go()  # so that it is asked again
    for _ in frames(source, 20):
        pass
    assert source.stats().host_copies == 0
    source.close()
    assert surfaces.images == 0


def test_key_frames_still_come_as_jpegs_of_the_field_alone(opened: Callable[..., LiveSource]) -> None:
    source = opened(field=CORNERED)
    stills = source.keep_stills(10, 60)
    next_that(source, lambda _: len(list(stills)) >= 3)
    still = stills.newest()
    assert still is not None
    assert (still.width, still.height) == (120, 96)
    assert still.jpeg[:2] == b"\xff\xd8"


# ------------------------------------------------------------------------------------------ mapped memory


def test_mapped_frames_are_written_once_where_both_read_them(cuda: FakeCuda, opened: Callable[..., LiveSource]) -> None:
    source = opened(profile="jetson-mapped", field=CORNERED)
    for frame in frames(source, 5):
        assert isinstance(frame.image, MappedImage)
        picture = cuda.picture(frame.image)
        np.testing.assert_array_equal(np.asarray(frame.image), picture)
        assert not picture[:7, :7].any()
        assert picture[24:, 30:, :3].mean() > 60
    stats = source.stats()
    assert stats.memory == "mapped"
    assert stats.host_copies == stats.frames + stats.withheld + stats.repeated
    assert [cuda.calls(name) for name in (*PIXEL_COPIES, "cuMemcpyHtoDAsync", "cuLaunchKernel")] == [0] * 4
    source.close()
    assert cuda.living() == {}


# ----------------------------------------------------------------------------------------------- profiles


def test_the_first_profile_is_taken_whose_memory_the_backend_reads(surfaces: FakeSurfaces) -> None:
    assert profiles.choose("auto", READS).name == "jetson-orin"
    assert profiles.choose("auto", ("mapped", "host")).name == "jetson-mapped"
    assert profiles.choose("auto").name == "jetson"
    with pytest.raises(
        CaptureError, match="'jetson-orin' leaves frames in nvmm memory, the backend reads them from: h"
    ):
        profiles.choose("jetson-orin")


def test_a_library_that_is_not_there_is_named(surfaces: FakeSurfaces, monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(library: str) -> bool:
        return library != "libnvbufsurface.so.1.0.0"

    monkeypatch.setattr("edge.memory.mapper.loads", loads)
    with pytest.raises(CaptureError, match=r"'jetson-orin' needs libnvbufsurface\.so\.1\.0\.0, which this machine has"):
        profiles.choose("jetson-orin", READS)
    assert profiles.choose("auto", READS).name == "jetson-mapped"


def test_a_gpu_that_does_not_open_is_said_with_the_profiles_name(
    cuda: FakeCuda, opened: Callable[..., LiveSource]
) -> None:
    cuda.devices(0)
    with pytest.raises(CaptureError, match="capture profile 'jetson-orin': cuInit: no CUDA-capable device"):
        opened()
