"""The EDID that is shown to a tower: to the letter of the standard, and what is wrong with others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge.capture import edid


def test_two_blocks_with_good_sums() -> None:
    content = edid.default()
    assert len(content) == 256
    assert content[126] == 1
    assert sum(content[:128]) % 256 == 0
    assert sum(content[128:]) % 256 == 0
    assert edid.problem(content) == ""
    assert edid.name(content) == "EndoEdge"


def detailed(piece: bytes) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """(clock Hz, (active, blanking) across, ... down), read back by the standard's words."""
    across = piece[2] | (piece[4] >> 4) << 8, piece[3] | (piece[4] & 15) << 8
    down = piece[5] | (piece[7] >> 4) << 8, piece[6] | (piece[7] & 15) << 8
    return int.from_bytes(piece[:2], "little") * 10_000, across, down


@pytest.mark.parametrize(("at", "width", "height"), [(54, 1920, 1080), (72, 1280, 720)])
def test_detailed_timings_are_sixty_pictures_a_second(at: int, width: int, height: int) -> None:
    clock, across, down = detailed(edid.default()[at : at + 18])
    assert (across[0], down[0]) == (width, height)
    assert clock / (sum(across) * sum(down)) == 60


def test_the_extension_lists_the_formats_and_says_hdmi() -> None:
    extension = edid.default()[128:]
    assert extension[:2] == b"\x02\x03"
    blocks, found = extension[4 : extension[2]], {}
    while blocks:
        length = blocks[0] & 31
        found[blocks[0] >> 5] = blocks[1 : 1 + length]
        blocks = blocks[1 + length :]
    assert found[2] == bytes(edid.CODES)
    assert found[3][:3] == edid.HDMI_VENDOR
    assert found[3][6] * 5 == edid.MOST_MHZ
    assert not any(extension[extension[2] : 127])


def test_the_reference_decoder_passes_it(tmp_path: Path) -> None:
    decoder = shutil.which("edid-decode")
    if decoder is None:
        pytest.skip("edid-decode is not installed")
    (tmp_path / "edid.bin").write_bytes(edid.default())
    done = subprocess.run(
        [decoder, "--check", str(tmp_path / "edid.bin")], capture_output=True, text=True, timeout=30, check=False
    )
    assert "EDID conformity: PASS" in done.stdout, done.stdout[-2000:]
    assert done.returncode == 0


def damaged(at: int, value: int) -> bytes:
    return edid.default()[:at] + bytes([value]) + edid.default()[at + 1 :]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it has 0 bytes, a multiple of 128 was expected"),
        (edid.default()[:200], "it has 200 bytes"),
        (edid.default()[:128], "it announces 1 extension blocks and has 0"),
        (edid.default() * 2, "it announces 1 extension blocks and has 3"),
        (damaged(0, 1), "it does not begin as an EDID does"),
        (damaged(60, 0), "the checksum of block 0 is wrong"),
        (damaged(140, 0), "the checksum of block 1 is wrong"),
        (b"00ffffffffffff00\n" * 16, "it has 272 bytes"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, says: str) -> None:
    assert says in edid.problem(content)


@pytest.mark.parametrize("at", range(0, 256, 5))
def test_no_wrong_byte_goes_unnoticed(at: int) -> None:
    assert edid.problem(damaged(at, edid.default()[at] ^ 0x15))


def test_a_nameless_one() -> None:
    assert edid.name(edid.default().replace(b"\0\0\0\xfc", b"\0\0\0\x10")) == ""
