"""Sources that come over a network: live, lost, back again. Against GStreamer's own senders, on this machine."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.capture import aja, decklink, gst, rtsp, udp
from edge.capture.live import LiveSource
from edge.errors import CaptureError
from edge.types import Frame, Gap, SignalState

SIZE = (64, 64)
PATIENCE_S = 50
SERVER = Path(__file__).parents[1] / "support" / "rtsp_server.py"
X264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=12"
SENDERS = {
    "mpegts": f"{X264} ! mpegtsmux",
    "rtp-h264": f"{X264} ! rtph264pay config-interval=1",
    "rtp-jpeg": "jpegenc ! rtpjpegpay",
}


def until(source: LiveSource, state: SignalState) -> Gap | Frame:
    """The first moment in that state; a frame is given back."""
    deadline, states = time.monotonic() + PATIENCE_S, []
    while time.monotonic() < deadline:
        item = source.next(0.25)
        if isinstance(item, Frame):
            assert np.asarray(item.image).shape == (64, 64, 4)
            item.release()
        now = item.state if isinstance(item, Gap) else SignalState.LIVE
        if now is state and (isinstance(item, Frame) or state is not SignalState.LIVE):
            return item
        states.append(now)
    raise AssertionError(f"never {state.value}, but {list(dict.fromkeys(states))}")


@contextlib.contextmanager
def running(*command: str, output: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def sender(form: str, port: int) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    raw = "videotestsrc is-live=true pattern=snow ! video/x-raw,format=I420,width=160,height=128,framerate=25/1"
    chain = f"{raw} ! {SENDERS[form]} ! udpsink host=127.0.0.1 port={port}"
    return running("gst-launch-1.0", "-q", *chain.split())


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("form", list(SENDERS))
def test_udp_is_live_while_somebody_sends(form: str, port: int) -> None:
    source = udp.open(udp.Config(port=port, address="127.0.0.1", format=form, field="whole"), SIZE)  # type: ignore[arg-type]
    try:
        with sender(form, port):
            until(source, SignalState.LIVE)
        lost = until(source, SignalState.NO_SIGNAL)
        assert isinstance(lost, Gap)
        assert f"udp://127.0.0.1:{port}: no picture for" in lost.detail
        with sender(form, port):
            until(source, SignalState.LIVE)
    finally:
        source.close()


@contextlib.contextmanager
def rtsp_server(*words: str) -> Iterator[str]:
    probe = subprocess.run(
        [sys.executable, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"],
        check=False,
        capture_output=True,
    )
    if probe.returncode:
        pytest.skip("gir1.2-gst-rtsp-server-1.0 is not installed")
    with running(sys.executable, str(SERVER), *words, output=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"rtsp://127.0.0.1:{process.stdout.readline().strip()}/tower"


def test_rtsp_is_live_and_its_loss_is_a_state() -> None:
    with rtsp_server() as url:
        source = rtsp.open(rtsp.Config(url=url, field="whole"), SIZE)
        until(source, SignalState.LIVE)
    try:
        item = source.next(0.25)
        deadline = time.monotonic() + PATIENCE_S
        while not (isinstance(item, Gap) and item.state is not SignalState.LIVE):
            assert time.monotonic() < deadline
            if isinstance(item, Frame):
                item.release()
            item = source.next(0.25)
        assert not item.final
    finally:
        source.close()


def test_rtsp_with_a_password_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s:e/cr@t\n")
    with rtsp_server("tower", "s:e/cr@t") as url:
        config = rtsp.Config(url=url, user="tower", password_file=str(secret), field="whole")
        source = rtsp.open(config, SIZE)
        try:
            until(source, SignalState.LIVE)
            assert "cr@t" not in source.describe()
        finally:
            source.close()
        secret.write_text("wrong")
        source = rtsp.open(config, SIZE)
        try:
            refused = until(source, SignalState.FAILED)
            assert isinstance(refused, Gap)
            assert "nauthorized" in refused.detail
        finally:
            source.close()


def test_what_only_a_person_can_mend(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"capture\.url: has a password in it"):
        rtsp.open(rtsp.Config(url="rtsp://me:secret@tower/1"), SIZE)
    with pytest.raises(CaptureError, match=r"capture\.password_file: .*none: cannot be read"):
        rtsp.open(rtsp.Config(url="rtsp://tower/1", password_file=str(tmp_path / "none")), SIZE)


def test_a_card_without_its_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gst, "missing_elements", lambda names: list(names))
    with pytest.raises(CaptureError, match="GStreamer has no decklinkvideosrc"):
        decklink.open(decklink.Config(), SIZE)
    with pytest.raises(CaptureError, match="GStreamer has no ajasrc"):
        aja.open(aja.Config(), SIZE)


def test_a_decklink_that_is_not_there_is_said() -> None:
    if gst.missing_elements([decklink.ELEMENT]):
        pytest.skip("GStreamer has no decklinkvideosrc here")
    source = decklink.open(decklink.Config(device=63, field="whole"), SIZE)
    try:
        broken = until(source, SignalState.FAILED)
        assert isinstance(broken, Gap)
        assert broken.detail.startswith("DeckLink 63: ")
    finally:
        source.close()
