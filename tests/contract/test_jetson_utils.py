"""`jetson_utils` as a source, over a package of its names and arguments, which were read in its bindings' source."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edge.capture import jetson_utils
from edge.errors import CaptureError
from edge.memory.mapped import MappedImage
from edge.types import Frame, Gap, SignalState
from tests.support.frames import snow
from tests.support.waiting import next_that

SIZE = (32, 24)
WIDTH, HEIGHT = 80, 60
CORNERED = [(30.0, 10.0), (70.0, 10.0), (70.0, 50.0), (10.0, 50.0), (10.0, 30.0)]


def view(number: int) -> np.ndarray:
    return snow(HEIGHT, WIDTH, number)


class Image:
    """cudaImage in mapped memory."""

    def __init__(self, width: int, height: int, pixels: np.ndarray | None = None) -> None:
        self.width, self.height, self.format = width, height, "rgba8"
        self.pixels = np.zeros((height, width, 4), np.uint8) if pixels is None else pixels

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.pixels.shape,
            "typestr": "<u1",
            "data": (self.pixels.ctypes.data, False),
            "version": 3,
        }


class Camera:
    """videoSource. `show`: what `Capture` gives; an exception is raised."""

    opened = closed = 0
    streaming = True
    raises: Exception | None = None

    def __init__(self, uri: str = "", argv: list[str] | None = None, positionArg: int = -1) -> None:  # noqa: N803
        Camera.opened += 1
        if uri == "csi://9":
            raise Exception("jetson.utils -- failed to create videoSource device")
        self._number = 0

    def Capture(self, format: str = "rgb8", timeout: int = -1) -> Image | None:  # noqa: N802
        assert (format, timeout > 0) == ("rgba8", True)
        shown = Package.show(self._number)
        self._number += 1
        if isinstance(shown, Exception):
            raise shown
        return None if shown is None else Image(WIDTH, HEIGHT, shown)

    def IsStreaming(self) -> bool:  # noqa: N802
        return Camera.streaming

    def Close(self) -> None:  # noqa: N802
        Camera.closed += 1


class Package:
    show: Callable[[int], np.ndarray | Exception | None]


def crop(source: Image, target: Image, roi: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = map(int, roi)
    assert (target.width, target.height) == (right - left, bottom - top)
    target.pixels[:] = source.pixels[top:bottom, left:right]


def resize(source: Image, target: Image) -> None:
    rows, columns = (np.arange(n) * m // n for n, m in ((target.height, source.height), (target.width, source.width)))
    target.pixels[:] = source.pixels[rows[:, None], columns[None]]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> type[Package]:
    module = ModuleType("jetson_utils")
    module.videoSource, module.cudaCrop, module.cudaResize = Camera, crop, resize  # type: ignore[attr-defined]
    module.cudaAllocMapped = lambda width, height, format: Image(width, height)  # type: ignore[attr-defined]
    module.cudaDeviceSynchronize = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jetson_utils", module)
    monkeypatch.setattr("edge.capture.evidence.RETRY_NS", (10**7,))
    Camera.opened = Camera.closed = 0
    Camera.streaming = True
    Package.show = staticmethod(view)
    return Package


def opened(field: Any = CORNERED, uri: str = "csi://0") -> jetson_utils.JetsonUtilsSource:
    return jetson_utils.open(jetson_utils.Config(uri=uri, field=field), SIZE)


def test_frames_are_the_field_readable_by_both(package: type[Package]) -> None:
    source = opened()
    frame = next_that(source, lambda item: isinstance(item, Frame))
    assert isinstance(frame, Frame)
    image = frame.image
    assert isinstance(image, MappedImage)
    assert image.__cuda_array_interface__["data"][0] == image.__array_interface__["data"][0]
    pixels = np.asarray(image)
    assert pixels.shape == (24, 32, 4)
    assert not pixels[:4, :4].any()
    assert pixels[12:, 16:, :3].mean() > 60
    assert frame.field.width == 60 and frame.field.x == 10  # noqa: PT018
    asked: list[int] = []
    image.hold(lambda: asked.append(1))
    source.next(0.05)  # takes back what the loop forgot
    assert asked == [1]
    stats = source.stats()
    assert stats.memory == "mapped"
    assert stats.host_copies == 3 * (stats.frames + stats.withheld + stats.repeated)
    source.close()
    source.close()
    assert Camera.closed == 1


@pytest.mark.parametrize(
    ("show", "state"),
    [
        (lambda number: view(1), SignalState.FROZEN),
        (lambda number: np.zeros((HEIGHT, WIDTH, 4), np.uint8), SignalState.BLACK),
    ],
    ids=["frozen", "black"],
)
def test_placeholders_are_states_and_never_frames(
    package: type[Package], show: Callable[[int], np.ndarray], state: SignalState
) -> None:
    def slowly(number: int) -> np.ndarray:
        time.sleep(0.02)  # the camera itself
        return show(number)

    package.show = staticmethod(slowly)
    source = opened()
    next_that(source, lambda item: isinstance(item, Gap) and item.state is state)
    assert source.stats().frames == 0
    source.close()


@pytest.mark.parametrize("shown", [None, Exception("videoSource failed to capture image")], ids=["None", "raised"])
def test_a_timeout_is_no_fault(package: type[Package], shown: Any) -> None:
    package.show = staticmethod(lambda number: view(number) if number % 2 else shown)
    source = opened("whole")
    for _ in range(5):
        frame = next_that(source, lambda item: isinstance(item, Frame))
        assert isinstance(frame, Frame)
        frame.release()
    assert source.stats().rebuilds == 0
    source.close()


def test_a_camera_that_stops_is_opened_anew(package: type[Package]) -> None:
    source = opened("whole")
    next_that(source, lambda item: isinstance(item, Frame))
    Camera.streaming, package.show = False, staticmethod(lambda number: Exception("the stream was closed"))
    next_that(source, lambda _: Camera.opened >= 2)
    Camera.streaming, package.show = True, staticmethod(view)
    before = source.stats().frames
    next_that(source, lambda item: isinstance(item, Frame) and source.stats().frames > before)
    assert Camera.closed >= 1
    source.close()


def test_a_camera_that_is_not_there_is_a_state_with_the_packages_words(package: type[Package]) -> None:
    source = opened(uri="csi://9")
    item = next_that(source, lambda item: isinstance(item, Gap) and item.state is SignalState.FAILED)
    assert isinstance(item, Gap)
    assert "failed to create videoSource device" in item.detail
    source.close()


def test_what_it_cannot_do_is_said(package: type[Package]) -> None:
    source = opened()
    with pytest.raises(CaptureError, match=r"makes no key frames.*record\.key_frames"):
        source.keep_stills(1, 1)
    source.close()
    far = opened([(0.0, 0.0), (900.0, 0.0), (0.0, 9.0)])
    with pytest.raises(CaptureError, match=r"capture\.field: expected at least 3 corners within 80x60"):
        next_that(far, lambda item: isinstance(item, Frame))
    far.close()


def test_without_the_package_or_with_another_of_its_name_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jetson_utils", None)
    with pytest.raises(CaptureError, match=r"cannot be imported .*built on the device"):
        opened()
    monkeypatch.setitem(sys.modules, "jetson_utils", ModuleType("jetson_utils"))
    with pytest.raises(CaptureError, match="not dusty-nv's"):
        opened()
