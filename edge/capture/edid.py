"""The EDID that a capture input shows a tower when its driver has none: what we can take, 1080p60 first.

A bridge chip without EDID gets no picture at all, for the tower waits to be told what it may send. EDID 1.3 (HDMI asks
for that) with one CTA-861 extension; towers read the timings and the HDMI marker, and the name is for people.
"""

from __future__ import annotations

from typing import NamedTuple

BLOCK = 128
HEADER = bytes([0, 255, 255, 255, 255, 255, 255, 0])
MAKER = "EDG"
NAME = b"EndoEdge"
# CTA-861 video codes: 1080p60, 1080p50, 720p60, 720p50, 1080i60, 1080i50, 576p50, 480p60, 576i50, 480i60, 640x480p60
CODES = (16, 31, 4, 19, 5, 20, 17, 2, 21, 6, 1)
HDMI_VENDOR = bytes([0x03, 0x0C, 0x00])  # 00-0C-03, least byte first: this sink speaks HDMI
ADDRESS = bytes([0x10, 0x00])  # 1.0.0.0: plugged into the tower itself
MOST_MHZ = 170


class Detailed(NamedTuple):
    """A detailed timing: active, blanking, front porch, sync, across and down; both syncs positive."""

    clock_hz: int
    across: tuple[int, int, int, int]
    down: tuple[int, int, int, int]


P1080 = Detailed(148_500_000, (1920, 280, 88, 44), (1080, 45, 4, 5))
P720 = Detailed(74_250_000, (1280, 370, 110, 40), (720, 30, 5, 5))


def default() -> bytes:
    """256 bytes: what this box takes."""
    return _base() + _extension()


def problem(edid: bytes) -> str:
    """What is wrong with somebody's own EDID, or ""."""
    if not edid or len(edid) % BLOCK:
        return f"it has {len(edid)} bytes, a multiple of {BLOCK} was expected"
    if edid[:8] != HEADER:
        return "it does not begin as an EDID does"
    if len(edid) != BLOCK * (1 + edid[126]):
        return f"it announces {edid[126]} extension blocks and has {len(edid) // BLOCK - 1}"
    wrong = [number for number in range(len(edid) // BLOCK) if sum(edid[number * BLOCK :][:BLOCK]) % 256]
    return f"the checksum of block {wrong[0]} is wrong" if wrong else ""


def name(edid: bytes) -> str:
    """The monitor name in it, or ""."""
    for place in (54, 72, 90, 108):
        piece = edid[place : place + 18]
        if piece[:4] == b"\0\0\0\xfc":
            return piece[5:].split(b"\n")[0].decode("ascii", "replace").strip()
    return ""


def _sealed(block: bytes) -> bytes:
    return block + bytes([-sum(block) % 256])


def _base() -> bytes:
    letters = [ord(letter) - ord("A") + 1 for letter in MAKER]
    maker = (letters[0] << 10 | letters[1] << 5 | letters[2]).to_bytes(2, "big")
    identity = maker + bytes(2) + bytes(4) + bytes([0, 36])  # product and serial unsaid; made in 2026
    display = bytes([1, 3, 0x80, 0, 0, 120, 0x0E])  # version 1.3, digital, size unsaid, gamma 2.2, RGB, sRGB
    srgb = bytes([0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54])  # sRGB's primaries
    established = bytes([0x20, 0, 0])  # 640x480p60
    standard = b"\x01\x01" * 8
    label = b"\0\0\0\xfc\0" + (NAME + b"\n").ljust(13)
    limits = b"\0\0\0\xfd\0" + bytes([24, 61, 15, 68, MOST_MHZ // 10, 0]) + b"\n".ljust(7)
    return _sealed(
        HEADER + identity + display + srgb + established + standard + _detailed(P1080) + _detailed(P720) + label
        + limits + bytes([1])
    )  # fmt: skip


def _detailed(timing: Detailed) -> bytes:
    """18 bytes, VESA E-EDID table 3.21."""
    (width, blank, porch, sync), (height, v_blank, v_porch, v_sync) = timing.across, timing.down
    return (timing.clock_hz // 10_000).to_bytes(2, "little") + bytes([
        width & 255, blank & 255, width >> 8 << 4 | blank >> 8,
        height & 255, v_blank & 255, height >> 8 << 4 | v_blank >> 8,
        porch & 255, sync & 255, (v_porch & 15) << 4 | v_sync & 15,
        porch >> 8 << 6 | sync >> 8 << 4 | v_porch >> 4 << 2 | v_sync >> 4,
        0, 0, 0, 0, 0, 0x1E,
    ])  # fmt: skip


def _extension() -> bytes:
    video = bytes([0x40 | len(CODES), *CODES])
    vendor = HDMI_VENDOR + ADDRESS + bytes([0, MOST_MHZ // 5])
    range_choice = bytes([0xE2, 0, 0xCA])  # full or limited range, as the tower says, and show all of the picture
    blocks = video + bytes([0x60 | len(vendor)]) + vendor + range_choice
    underscan_yuv_one_native = 0x80 | 0x20 | 0x10 | 1
    return _sealed((bytes([2, 3, 4 + len(blocks), underscan_yuv_one_native]) + blocks).ljust(BLOCK - 1, b"\0"))
