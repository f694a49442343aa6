"""EGL without a screen: NVMM's way to CUDA goes through EGLImages, and a service has no display."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from edge.errors import EdgeError
from tools.on_device import Context, Result, failed, passed

TITLE = "EGL without a screen"
LIMIT_S = 60.0

_P = ctypes.c_void_p
_VENDOR, _VERSION, _EXTENSIONS = 0x3053, 0x3054, 0x3055
_PLATFORM_DEVICE = 0x313F
_MOST_DEVICES = 16
IMAGES = "EGL_KHR_image_base"


class Display(NamedTuple):
    """One display that EGL offers. `vendor` is "" where it cannot be initialised."""

    vendor: str
    version: str
    images: bool


def run(context: Context) -> Result:
    context.need_jetson("a Jetson's EGL")
    default, devices = look()
    return judge(default, devices)


def judge(default: Display, devices: list[Display]) -> Result:
    """`default`: what libnvbufsurface asks for; `devices`: those that need no screen at all."""
    figures = {"default": " ".join(default[:2]), "devices": [" ".join(device[:2]) for device in devices]}
    if not default.vendor:
        hint = ", though a device has one" if any(device.vendor for device in devices) else ""
        return failed(f"the default display cannot be initialised{hint}: NVMM frames cannot be mapped", **figures)
    if "NVIDIA" not in default.vendor:
        return failed(f"the default display is {default.vendor}'s, not NVIDIA's", **figures)
    if not default.images:
        return failed(f"the default display has no {IMAGES}", **figures)
    return passed(f"the default display is {default.vendor} {default.version}", **figures)


def look() -> tuple[Display, list[Display]]:
    """Ask EGL. Raises EdgeError when there is none."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError as exc:
        raise EdgeError(f"libEGL.so.1 cannot be loaded ({exc}): apt install libegl1") from exc
    for name, result, arguments in (
        ("eglGetDisplay", _P, (_P,)),
        ("eglInitialize", ctypes.c_uint, (_P, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))),
        ("eglQueryString", ctypes.c_char_p, (_P, ctypes.c_int)),
        ("eglGetProcAddress", _P, (ctypes.c_char_p,)),
    ):
        function = getattr(egl, name)
        function.restype, function.argtypes = result, arguments
    return _display(egl, egl.eglGetDisplay(None)), [_display(egl, handle) for handle in _devices(egl)]


def _devices(egl: ctypes.CDLL) -> list[int | None]:
    """A display of each device, by EGL_EXT_device_enumeration and EGL_EXT_platform_device."""
    query = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query or not display:
        return []
    found, count = (_P * _MOST_DEVICES)(), ctypes.c_int()
    kind = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.POINTER(_P), ctypes.POINTER(ctypes.c_int))
    if not kind(query)(_MOST_DEVICES, found, ctypes.byref(count)):
        return []
    of = ctypes.CFUNCTYPE(_P, ctypes.c_uint, _P, _P)(display)
    return [of(_PLATFORM_DEVICE, found[place], None) for place in range(count.value)]


def _display(egl: ctypes.CDLL, handle: int | None) -> Display:
    major, minor = ctypes.c_int(), ctypes.c_int()
    if not handle or not egl.eglInitialize(handle, ctypes.byref(major), ctypes.byref(minor)):
        return Display("", "", False)

    def say(what: int) -> str:
        return (egl.eglQueryString(handle, what) or b"").decode(errors="replace")

    return Display(say(_VENDOR), say(_VERSION), IMAGES in say(_EXTENSIONS).split())
