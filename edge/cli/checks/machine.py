"""What the machine brings: GStreamer, a processor whose products are exact."""

from __future__ import annotations

from pathlib import Path

from edge.capture import gst
from edge.cli.site import Site
from edge.console.report import Row
from edge.errors import CaptureError
from edge.types import Model

# What the CPU path is made of, and the Debian package that brings it.
ELEMENTS = {
    "filesrc": "libgstreamer1.0-0",
    "decodebin": "gstreamer1.0-plugins-base",
    "videocrop": "gstreamer1.0-plugins-good",
    "videoscale": "gstreamer1.0-plugins-base",
    "videoconvert": "gstreamer1.0-plugins-base",
    "appsink": "gstreamer1.0-plugins-base",
    "deinterlace": "gstreamer1.0-plugins-good",
    "jpegenc": "gstreamer1.0-plugins-good",
    "rsvgoverlay": "gstreamer1.0-plugins-bad",
    "v4l2src": "gstreamer1.0-plugins-good",
    "matroskademux": "gstreamer1.0-plugins-good",
    "qtdemux": "gstreamer1.0-plugins-good",
    "avdec_h264": "gstreamer1.0-libav",
}


def gstreamer() -> Row:
    try:
        missing = gst.missing_elements(list(ELEMENTS))
    except CaptureError as exc:
        return Row("GStreamer", False, str(exc), "apt install python3-gst-1.0")
    if missing:
        packages = " ".join(sorted({ELEMENTS[name] for name in missing}))
        return Row("GStreamer", False, f"missing elements: {', '.join(missing)}", f"apt install {packages}")
    return Row("GStreamer", True, gst.version())


def processor(loaded: Model, site: Site) -> Row:
    """U8 x S8 products saturate in 16 bits on x86 without VNNI: results there are not those that were measured."""
    flags = Path("/proc/cpuinfo").read_text()
    if site.config.infer.get("backend") != "onnx" or loaded.precision != "int8" or "GenuineIntel" not in flags:
        return Row("processor", True, "no known INT8 trap")
    if "avx512_vnni" in flags or "avx_vnni" in flags:
        return Row("processor", True, "INT8 products are exact (VNNI)")
    return Row(
        "processor", False, "no VNNI: INT8 products can saturate", "use a processor with VNNI, or the fp32 model"
    )
