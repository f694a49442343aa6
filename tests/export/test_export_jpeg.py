"""A JPEG's own words, held against another reader's."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from server.export import jpeg


def encoded(mode: str = "RGB", size: tuple[int, int] = (40, 24), **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 120 if mode == "L" else (200, 90, 70)).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(subsampling=0), jpeg.Jpeg(40, 24, 3, baseline=True, halved=False, transformed=True)),
        (encoded(subsampling=1), jpeg.Jpeg(40, 24, 3, baseline=True, halved=True, transformed=True)),
        (encoded(subsampling=2), jpeg.Jpeg(40, 24, 3, baseline=True, halved=True, transformed=True)),
        (encoded(progressive=True), jpeg.Jpeg(40, 24, 3, baseline=False, halved=True, transformed=True)),
        (encoded("L"), jpeg.Jpeg(40, 24, 1, baseline=True, halved=False, transformed=True)),
        (encoded(keep_rgb=True), jpeg.Jpeg(40, 24, 3, baseline=True, halved=False, transformed=False)),
        (encoded(comment=b"x" * 5000), jpeg.Jpeg(40, 24, 3, baseline=True, halved=True, transformed=True)),
    ],
)
def test_what_it_says(content: bytes, expected: jpeg.Jpeg) -> None:
    assert jpeg.read(content) == expected


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "expected a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "expected a JPEG"),
        (encoded()[:-100], "ends before its end"),
        (b"\xff\xd8\x00\x00\x00\x00\xff\xd9", "marker at byte 2"),
        (b"\xff\xd8\xff\xd9", "no frame header"),
        (b"\xff\xd8\xff\xc0\x00\x04\x08\x00\xff\xd9", "too short"),
    ],
)
def test_what_is_none(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        jpeg.read(content)


@given(st.binary(max_size=200), st.integers(0, 500), st.integers(0, 255))
def test_anything_is_read_or_refused(noise: bytes, at: int, value: int) -> None:
    spoilt = bytearray(encoded())
    spoilt[at % len(spoilt)] = value
    for content in (bytes(spoilt), b"\xff\xd8" + noise + b"\xff\xd9"):
        try:
            jpeg.read(content)
        except ValueError:
            continue
