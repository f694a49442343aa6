"""`endoedge display` itself, in a window on an X server, against a core of our own making."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge import cli
from edge.capture import gst
from edge.display import banner, drawing, wire
from edge.display.banner import FAULT, Tone
from edge.display.wire import Sender, Shown, ShownBox
from edge.types import Field, SignalState, View
from tests.support import x11
from tests.support.x11 import Display, Pixels

WITHIN_S = 45.0  # the machine may have other things to do; nothing here is timed
FIELD = Field(x=100, y=50, width=440, height=360, outline=((100, 50), (540, 50), (540, 410), (100, 410)))
BOX = ShownBox(label="polyp", box=(210.0, 140.0, 320.0, 230.0), score=0.9, confirmed=True)
MUCOSA = (60, 90, 190)  # BGR
MARK = (0xFF, 0xF0, 0x56)  # BGR, of boxes
BANNER_AT = (8, drawing.STAGE + 8)  # (y, x): the word's ground, above the word
PICTURE_AT = (600, 700)  # and not in the box


@pytest.fixture(scope="module")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Display]:
    lacking = x11.missing() or ", ".join(gst.missing_elements(["ximagesink", "rsvgoverlay"]))
    if lacking:
        pytest.skip(f"no X server to show on: {lacking}")
    with x11.screen(tmp_path_factory.mktemp("screen")) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "site.toml"
    file.write_text('device = "d"\npipeline = "p"\nrun_dir = "."\n[capture]\n[uplink]\n')
    return file


class Core(threading.Thread):
    """Says the same thing 25 times a second, as a core does, until told something else."""

    def __init__(self, site: Path) -> None:
        super().__init__(name="fake core")
        self._sender = Sender(site.with_name(wire.NAME))
        self._over = threading.Event()
        pixels = np.full((360, 440, 3), MUCOSA, np.uint8)
        self._jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
        self.state, self.view, self.detail = SignalState.LIVE, View.GOOD, ""

    def run(self) -> None:
        while not self._over.wait(0.04):
            now_ns, live = time.monotonic_ns(), self.state is SignalState.LIVE
            self._sender.send(
                Shown(
                    said_ns=now_ns,
                    state=self.state,
                    detail=self.detail,
                    view=self.view,
                    boxes=(BOX,) if live else (),
                    captured_ns=now_ns if live else 0,
                    jpeg=self._jpeg if live else b"",
                    field=FIELD if live else None,
                )
            )

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._sender.close()


@contextmanager
def core(site: Path) -> Iterator[Core]:
    thread = Core(site)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()


@contextmanager
def shown(site: Path, *more: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "edge.cli", "display", "-c", str(site), *more],
        env={**os.environ, "WAYLAND_DISPLAY": "", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(true: Callable[[], bool], what: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert process.poll() is None, f"the display ended: {process.communicate()[1]}"
        assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s: {what}"
        time.sleep(0.05)


def looks(pixels: Pixels, at: tuple[int, int], bgr: tuple[int, ...], near: int = 12) -> bool:
    return bool(np.abs(pixels[at].astype(int) - np.array(bgr)).max() <= near)


def says(pixels: Pixels, tone: Tone) -> bool:
    return looks(pixels, BANNER_AT, tuple(bytes.fromhex(tone.ground[1:]))[::-1])


def wait_for(display: Display, process: subprocess.Popen[str], tone: Tone) -> None:
    until(lambda: says(display.pixels(), tone), f"a banner of {tone}", process)


def test_it_shows_the_picture_the_box_and_the_state(display: Display, site: Path) -> None:
    with core(site) as box, shown(site, environment={"DISPLAY": display.name}) as window:
        wait_for(display, window, banner.GOOD)
        pixels = display.pixels()
        rect = drawing.place(440, 360)
        x0, y0, x1, y1 = (round(edge) for edge in drawing.on_canvas(BOX.box, FIELD, rect))
        assert looks(pixels, PICTURE_AT, MUCOSA)
        assert all(
            looks(pixels, at, MARK) for at in ((y0, x1 - 20), (y1, x0 + 20), ((y0 + y1) // 2, x0), (y1 - 20, x1))
        )
        assert looks(pixels, (y0 + 20, x0 + 20), MUCOSA)

        box.view = View.POOR
        wait_for(display, window, banner.CARE)
        assert looks(display.pixels(), PICTURE_AT, MUCOSA)

        box.state, box.detail = SignalState.DEVICE_GONE, "/dev/video0: the capture device is not there"
        wait_for(display, window, banner.FAULT)
        assert not display.pixels()[:, : drawing.STAGE].any(), "an old picture stays beside an error"
        window.terminate()
        assert window.wait(WITHIN_S) == 0
    assert not site.with_name(wire.NAME).exists()


def test_a_core_that_dies_is_told_and_a_new_one_is_shown(display: Display, site: Path) -> None:
    with shown(site, environment={"DISPLAY": display.name}) as window:
        for _ in range(2):
            with core(site):
                wait_for(display, window, banner.GOOD)
            wait_for(display, window, FAULT)
            assert not display.pixels()[:, : drawing.STAGE].any(), "an old picture looks like now"


def test_a_killed_display_leaves_the_core_alone_and_starts_again(display: Display, site: Path) -> None:
    with core(site) as box:
        for _ in range(2):
            with shown(site, environment={"DISPLAY": display.name}) as window:
                wait_for(display, window, banner.GOOD)
                window.send_signal(signal.SIGKILL)
                window.wait(WITHIN_S)
            until_gone(display)
        assert box.is_alive()


def until_gone(display: Display) -> None:
    deadline = time.monotonic() + WITHIN_S
    while display.pixels().any():
        assert time.monotonic() < deadline, "the window stays"
        time.sleep(0.05)


def test_its_window_can_be_resized_and_closed(display: Display, site: Path) -> None:
    with core(site), shown(site, environment={"DISPLAY": display.name}) as window:
        wait_for(display, window, banner.GOOD)
        x11.resize_window(display, 640, 360)
        half = (BANNER_AT[0] // 2, BANNER_AT[1] // 2 + 2)
        green = tuple(bytes.fromhex(banner.GOOD.ground[1:]))[::-1]
        until(lambda: looks(display.pixels(), half, green), "the picture in the smaller window", window)
        x11.close_window(display)
        assert window.wait(WITHIN_S) == 0


def test_a_second_display_is_refused(
    display: Display, site: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISPLAY", display.name)
    with core(site), shown(site, environment={"DISPLAY": display.name}) as first:
        wait_for(display, first, banner.GOOD)
        assert cli.main(["display", "-c", str(site)]) == 1
        assert "another display listens there already" in capfd.readouterr().err
        assert site.with_name(wire.NAME).exists()


def test_without_a_screen_it_writes_pictures(site: Path, tmp_path: Path) -> None:
    if gst.missing_elements(["rsvgoverlay"]):
        pytest.skip("GStreamer has no rsvgoverlay here")
    file = tmp_path / '100 % "now".png'
    with core(site), shown(site, "--sink", f"png:{file}", environment={"DISPLAY": ""}) as process:
        until(lambda: file.exists() and says(cv2.imread(str(file)), banner.GOOD), f"{file}", process)


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        ([], {"DISPLAY": ""}, 1, "there is no screen"),
        (["--sink", "ximagesink"], {"DISPLAY": ""}, 1, "needs DISPLAY"),
        (["--sink", "ximagesink"], {"DISPLAY": ":9999"}, 1, "Could not open display"),
        (["--sink", "toaster"], {}, 2, "--sink is 'toaster'; one of waylandsink"),
        (["--sink", "png:/nonexistent/x.png"], {}, 2, "there is no folder /nonexistent"),
        (["--sink", "ximagesink", "--fullscreen"], {"DISPLAY": ":9999"}, 2, "ximagesink cannot"),
    ],
)
def test_it_says_in_one_line_why_it_cannot(
    site: Path,
    arguments: list[str],
    environment: dict[str, str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if gst.missing_elements(["rsvgoverlay", "ximagesink"]):
        pytest.skip("GStreamer has no rsvgoverlay or no ximagesink here")
    for name, value in {"WAYLAND_DISPLAY": "", **environment}.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["display", "-c", str(site), *arguments]) == code
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("endoedge display: ")
    assert message in line
    assert not site.with_name(wire.NAME).exists()
