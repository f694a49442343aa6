"""A process in which GStreamer's real CUDA elements run over the fake driver: `test_cuda_path.py` starts it.

A process of its own, for GStreamer looks for a driver once, when it lists its plugins. `cudaupload` and `cudadownload`
are real, and so are GstCuda's memory and contexts. `cudaconvertscale` compiles kernels, which a fake cannot run, so an
element of that name does the same by numpy, reading and writing GstCuda's own memory by its device address.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge.capture import file, profiles
from edge.capture import gst_c as c
from edge.capture.gst import Gst
from edge.capture.inputs import Feed, LiveConfig, Stream
from edge.capture.live import LiveSource
from edge.memory import cuda as cuda_memory
from edge.types import Gap, Memory
from tests.support import fake_cuda, gst_element, ptx
from tests.support.fake_cuda import FakeCuda
from tests.support.gst_element import property_of, scaled, shape_of

SIZE = (60, 48)  # rows of 240 bytes in a pitch of 512
READS: tuple[Memory, ...] = ("cuda", "host")
CORNERED = [(60.0, 16.0), (140.0, 16.0), (140.0, 112.0), (20.0, 112.0), (20.0, 48.0)]
RAW = "video/x-raw,format=RGBA,width=160,height=128,framerate=25/1"
UP, DOWN = 0, 1
PATIENCE_S = 60
FORMAT_RGBA = 11  # GST_VIDEO_FORMAT_RGBA
CONTEXT_AT = 112  # GstCudaMemory.context, after a GstMemory
_P = ctypes.c_void_p

driver = FakeCuda(ctypes.CDLL("libcuda.so.1"))
_driver = ctypes.CDLL("libcuda.so.1")
_driver.fake_copied.restype = ctypes.c_uint64
_cuda = ctypes.CDLL(cuda_memory.LIBRARY)
_gst = ctypes.CDLL("libgstreamer-1.0.so.0")
_video = ctypes.CDLL("libgstvideo-1.0.so.0")
_allocator = _gst.gst_allocator_find
_alloc, _info = _cuda.gst_cuda_allocator_alloc, _video.gst_video_info_from_caps
_new, _append, _meta = _gst.gst_buffer_new, _gst.gst_buffer_append_memory, _video.gst_buffer_add_video_meta_full
for function, result, arguments in (
    (_allocator, _P, (ctypes.c_char_p,)),
    (_alloc, _P, (_P, _P, _P)),
    (_info, ctypes.c_int, (_P, _P)),
    (_new, _P, ()),
    (_append, None, (_P, _P)),
    (_meta, _P, (_P, ctypes.c_int, ctypes.c_int, *[ctypes.c_uint] * 3, _P, _P)),
):
    function.restype, function.argtypes = result, arguments


@contextmanager
def pixels(memory: int, width: int, height: int, flags: int) -> Iterator[np.ndarray]:
    """A GstCudaMemory's RGBA pixels, by its device address."""
    mapping = c.MapInfo()
    assert c.map(memory, ctypes.byref(mapping), flags | cuda_memory.MAP_CUDA)
    pitch = -(-width * 4 // 512) * 512
    rows = (ctypes.c_uint8 * (pitch * height)).from_address(driver.memory(int(mapping.data)))
    yield np.frombuffer(rows, np.uint8).reshape(height, pitch)[:, : width * 4].reshape(height, width, 4)
    c.unmap(mapping.memory, ctypes.byref(mapping))


class CudaConvertScale(gst_element.Converter):
    __gstmetadata__ = ("CudaConvertScale", "Filter/Converter/Video/Scaler", "a fake", "tests")
    __gsttemplates__ = gst_element.templates("video/x-raw(memory:CUDAMemory),format=RGBA")
    add_borders = property_of(type=bool, default=True)

    def convert(self, buffer: int) -> int:
        assert not self.add_borders  # black bars would be taken for the endoscope's
        came = c.peek_memory(buffer, 0)
        width, height, _ = shape_of(self.caps_out)
        info = ctypes.create_string_buffer(4096)
        assert _info(info, hash(self.caps_out))
        context = ctypes.c_void_p.from_address(came + CONTEXT_AT).value
        made = _alloc(_allocator(b"gst.cuda.memory"), context, info)
        with pixels(came, *shape_of(self.caps_in)[:2], 1) as source, pixels(made, width, height, 2) as target:
            target[:] = scaled(source, width, height)
        out = _new()
        _append(out, made)
        offsets, strides = (ctypes.c_size_t * 4)(), (ctypes.c_int * 4)(-(-width * 4 // 512) * 512)
        _meta(out, 0, FORMAT_RGBA, width, height, 1, offsets, strides)
        return int(out)


gst_element.register_type(CudaConvertScale)


scanned = 0  # contexts that GStreamer made to list its plugins


def seen_of(source: Any, count: int) -> dict[str, Any]:
    """What `count` frames, or everything until the end, were."""
    pictures, strides, states, deadline = [], set(), list[str](), time.monotonic() + PATIENCE_S
    while len(pictures) < count and time.monotonic() < deadline:
        item = source.next(0.2)
        if isinstance(item, Gap):
            states.append(item.state.value)
            if item.final:
                break
            continue
        assert not hasattr(item.image, "__array_interface__")
        strides.add(item.image.__cuda_array_interface__["strides"])
        pictures.append(driver.picture(item.image))
        item.release()
    stats = msgspec.to_builtins(source.stats())
    source.close()
    source.close()
    return {
        "stats": stats,
        "states": states,
        "strides": sorted(strides),
        "corner": max((int(picture[:7, :7].max()) for picture in pictures), default=-1),
        "middle": min((float(picture[24:, 30:, :3].mean()) for picture in pictures), default=-1),
        "up": int(_driver.fake_copied(UP)),
        "down": int(_driver.fake_copied(DOWN)),
        "masks": driver.calls("cuMemcpyHtoDAsync"),
        "fetched": driver.calls("cuMemcpyDtoHAsync"),
        "living": driver.living(),
        "contexts": driver.calls("cuCtxCreate") - scanned,
    }


def live(pattern: str, count: str) -> dict[str, Any]:
    feed = Feed(f"videotestsrc is-live=true pattern={pattern} ! {RAW}", {})
    config = LiveConfig(field=CORNERED, profile="x86-cuda")
    return seen_of(LiveSource(Stream("a tower", feed, first_s=20.0), config, SIZE, READS), int(count))


def placeholder(pattern: str, state: str) -> dict[str, Any]:
    """Until that state is said, or a frame came."""
    feed = Feed(f"videotestsrc is-live=true pattern={pattern} ! {RAW}", {})
    source = LiveSource(Stream("a tower", feed, 20.0), LiveConfig(field=CORNERED, profile="x86-cuda"), SIZE, READS)
    states, deadline = list[str](), time.monotonic() + PATIENCE_S
    while state not in states and time.monotonic() < deadline and not source.stats().frames:
        item = source.next(0.2)
        states.append(item.state.value if isinstance(item, Gap) else "live")
    stats = msgspec.to_builtins(source.stats())
    source.close()
    return {"states": states, "stats": stats}


def film(path: str) -> dict[str, Any]:
    return seen_of(file.open(file.Config(path=path, rate="max", field="whole"), SIZE, READS), 10**6)


def chosen() -> dict[str, Any]:
    return {"auto": profiles.choose("auto", READS).name, "host": profiles.choose("auto").name}


def main() -> None:
    global scanned
    fake_cuda.bindings()
    Gst.ElementFactory.find("cudaupload").load()  # which asks decoders, each in a context
    scanned = driver.calls("cuCtxCreate")
    ptx.teach_blacken(driver)
    scenario, *arguments = sys.argv[1:]
    with gst_element.registered("cudaconvertscale", CudaConvertScale):
        said = {"live": live, "placeholder": placeholder, "film": film, "chosen": chosen}[scenario](*arguments)
    Path("said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
