"""A picture without what is written around it."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from server.learn.picture import bare

SECRET = b"Erika Example 0000123"


def picture(mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(1)
    side = rng.integers(0, 255, (64, 80, 3), np.uint8).astype(np.uint8)
    return Image.fromarray(side).convert(mode)


def written(mode: str = "RGB", **more: object) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()  # ImageDescription
    file = io.BytesIO()
    picture(mode).save(file, "JPEG", exif=exif, comment=SECRET, icc_profile=SECRET, xmp=SECRET, **more)
    return file.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "how",
    [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": 0}, {"optimize": True}],
    ids=["baseline", "progressive", "restarts", "444", "optimised"],
)
def test_nothing_but_the_picture_is_left(mode: str, how: dict[str, object]) -> None:
    before = written(mode, **how)
    after = bare(before + SECRET)  # and behind the end
    assert before.count(SECRET) >= 4
    assert SECRET not in after
    assert np.array_equal(pixels(after), pixels(before))
    opened = Image.open(io.BytesIO(after))
    assert (dict(opened.getexif()), opened.info.get("comment"), opened.info.get("icc_profile")) == ({}, None, None)
    assert bare(after) == after


def test_a_thumbnail_in_the_header_goes() -> None:
    content = written()
    thumbnail = b"JFIF\0" + struct.pack(">HBHHBB", 0x0102, 1, 300, 300, 1, 1) + b"\x01\x02\x03"
    at = 2
    held = content[:at] + struct.pack(">BBH", 0xFF, 0xE0, 2 + len(thumbnail)) + thumbnail + content[at:]
    after = bare(held)
    assert b"\x01\x02\x03" not in after[:40]
    assert np.array_equal(pixels(after), pixels(content))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "expected a JPEG"),
        (b"\x89PNG\r\n", "expected a JPEG"),
        (b"\xff\xd8\xff\xd9", "no picture"),
        (b"\xff\xd8\xff", "before its end"),
        (b"\xff\xd8\xff\xe0\x00", "within a segment"),
        (b"\xff\xd8\xff\xe0\x00\x01", "wrong length"),
        (b"\xff\xd8\xff\xe0\xff\xff", "wrong length"),
        (b"\xff\xd8xx", "marker at byte 2"),
        (b"\xff\xd8\xff\xf7\x00\x02", "not known"),
    ],
)
def test_what_is_no_picture_is_said(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        bare(content)


def test_one_that_is_cut_off_is_refused() -> None:
    content = written()
    for length in range(2, len(content) - 2, 37):
        with pytest.raises(ValueError, match="JPEG"):
            bare(content[:length])


@given(st.binary(max_size=200))
def test_no_bytes_break_it(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert bare(b"\xff\xd8" + content).startswith(b"\xff\xd8")
