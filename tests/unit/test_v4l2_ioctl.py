"""The kernel's ABI as we wrote it down, against the kernel's own header; and what its timings are called."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.capture import v4l2_ioctl as ioctl

STRUCTS = {
    "v4l2_capability": ioctl.Capability,
    "v4l2_input": ioctl.Input,
    "v4l2_bt_timings": ioctl.BtTimings,
    "v4l2_dv_timings": ioctl.DvTimings,
    "v4l2_event": ioctl.Event,
    "v4l2_event_subscription": ioctl.EventSubscription,
    "v4l2_edid": ioctl.Edid,
    "v4l2_fmtdesc": ioctl.FormatDescription,
    "v4l2_frmsizeenum": ioctl.FrameSize,
    "v4l2_frmivalenum": ioctl.FrameInterval,
}
RENAMED = {  # ours → theirs, where one of theirs is a union or has a name of its own
    ("v4l2_frmsizeenum", "size"): "discrete",
    ("v4l2_frmivalenum", "interval"): "discrete",
}
REQUESTS = (
    *("QUERYCAP", "ENUM_FMT", "ENUMINPUT", "G_INPUT", "S_INPUT", "G_EDID", "S_EDID", "ENUM_FRAMESIZES"),
    *("ENUM_FRAMEINTERVALS", "S_DV_TIMINGS", "DQEVENT", "SUBSCRIBE_EVENT", "QUERY_DV_TIMINGS"),
)
CONSTANTS = {
    "V4L2_CAP_VIDEO_CAPTURE": ioctl.CAP_CAPTURE,
    "V4L2_CAP_VIDEO_CAPTURE_MPLANE": ioctl.CAP_CAPTURE_MPLANE,
    "V4L2_CAP_DEVICE_CAPS": ioctl.CAP_DEVICE_CAPS,
    "V4L2_EVENT_SOURCE_CHANGE": ioctl.EVENT_SOURCE_CHANGE,
    "V4L2_BUF_TYPE_VIDEO_CAPTURE": ioctl._CAPTURE,
    "V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE": ioctl._CAPTURE_MPLANE,
    "V4L2_FRMSIZE_TYPE_DISCRETE": ioctl._DISCRETE,
    "V4L2_DV_INTERLACED": ioctl._INTERLACED,
    "V4L2_DV_FL_REDUCED_FPS": ioctl._REDUCED_FPS,
    "V4L2_PIX_FMT_MJPEG": ioctl.fourcc("MJPG"),
    "V4L2_PIX_FMT_UYVY": ioctl.fourcc("UYVY"),
    "(V4L2_IN_ST_NO_POWER | V4L2_IN_ST_NO_SIGNAL | V4L2_IN_ST_NO_CARRIER)": ioctl.STATUS_NO_SIGNAL,
    "(V4L2_IN_ST_NO_H_LOCK | V4L2_IN_ST_NO_V_LOCK | V4L2_IN_ST_NO_STD_LOCK | V4L2_IN_ST_NO_SYNC)": ioctl.STATUS_NO_LOCK,
    "(V4L2_IN_ST_MACROVISION | V4L2_IN_ST_NO_ACCESS)": ioctl.STATUS_PROTECTED,
}
# of linux/v4l2-dv-timings.h: (active, front porch, sync, back porch) across, the same down (twice if interlaced), clock
CEA = {
    "1920x1080p60": ((1920, 88, 44, 148), (1080, 4, 5, 36), (), 148_500_000, 60.0),
    "1920x1080i50": ((1920, 528, 44, 148), (1080, 2, 5, 15), (2, 5, 16), 74_250_000, 25.0),
    "720x576i50": ((720, 12, 63, 69), (576, 2, 3, 19), (2, 3, 20), 13_500_000, 25.0),
    "1280x720p50": ((1280, 440, 40, 220), (720, 5, 5, 20), (), 74_250_000, 50.0),
    "720x480p59.94": ((720, 16, 62, 60), (480, 9, 6, 30), (), 27_000_000, 59.9401),
}


def timings(name: str) -> ioctl.DvTimings:
    across, down, second, clock, _ = CEA[name]
    bt = ioctl.BtTimings(pixelclock=clock, interlaced=bool(second))
    bt.width, bt.hfrontporch, bt.hsync, bt.hbackporch = across
    bt.height, bt.vfrontporch, bt.vsync, bt.vbackporch = down
    if second:
        bt.il_vfrontporch, bt.il_vsync, bt.il_vbackporch = second
    return ioctl.DvTimings(bt=bt)


def expressions() -> dict[str, int]:
    """C expressions and what we think they are."""
    said = {f"(VIDIOC_{name})": int(getattr(ioctl, name)) for name in REQUESTS} | CONSTANTS
    for name, kind in STRUCTS.items():
        said[f"sizeof(struct {name})"] = ctypes.sizeof(kind)
        for field, *_ in kind._fields_:
            theirs = RENAMED.get((name, field), field)
            if theirs != "reserved":
                said[f"offsetof(struct {name}, {theirs})"] = getattr(kind, field).offset
    return said


def test_the_kernels_header_agrees(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("needs a C compiler and linux/videodev2.h (linux-libc-dev)")
    said = expressions()
    lines = "\n".join(f'printf("%llu\\n", (unsigned long long)({expression}));' for expression in said)
    (tmp_path / "ask.c").write_text(
        "#include <stdio.h>\n#include <stddef.h>\n#include <sys/ioctl.h>\n#include <linux/videodev2.h>\n"
        f"int main(void) {{\n{lines}\nreturn 0; }}\n"
    )
    subprocess.run([compiler, "-w", "-o", tmp_path / "ask", tmp_path / "ask.c"], check=True, timeout=60)
    answer = subprocess.run([tmp_path / "ask"], capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert dict(zip(said, map(int, answer), strict=True)) == said


@pytest.mark.parametrize("name", CEA)
def test_timings_are_called_as_video_people_call_them(name: str) -> None:
    assert ioctl.describe(timings(name)) == name
    assert ioctl.frame_rate(timings(name)) == pytest.approx(CEA[name][-1], abs=1e-3)


@pytest.mark.parametrize("off", [-60_000, -20_000, 0, 20_000, 60_000])
def test_a_measured_clock_wavers_and_the_format_does_not(off: int) -> None:
    wavering = timings("1920x1080p60")
    wavering.bt.pixelclock += off
    assert ioctl.describe(wavering) == "1920x1080p60"


def test_reduced_rates_are_other_formats() -> None:
    for change in ({"pixelclock": 148_351_648}, {"flags": 0x4}):
        reduced = timings("1920x1080p60")
        for key, value in change.items():
            setattr(reduced.bt, key, value)
        assert ioctl.describe(reduced) == "1920x1080p59.94"


def test_a_rate_that_nobody_uses_and_a_clock_that_nobody_knows() -> None:
    odd = timings("1280x720p50")
    odd.bt.pixelclock = 82_000_000
    assert ioctl.describe(odd) == "1280x720p55.2"
    odd.bt.pixelclock = 0
    assert ioctl.frame_rate(odd) == 0
    assert ioctl.frame_rate(ioctl.DvTimings()) == 0
