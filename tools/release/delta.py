"""What an adaptive update from one image to the next would have to fetch, by two methods, for kinds of squashfs.

blocks  RAUC's `block-hash-index`: the new image in blocks of 4 KiB; those whose hash the old image has, at any multiple
        of 4 KiB, are not fetched (verity bundles)
chunks  pieces whose ends are chosen by content (8 to 128 KiB, 32 and more on average), as casync and desync cut: what
        has moved is found
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edge.errors import UsageError
from tools.release import image, tree

HELP = "what an adaptive update would fetch"
BLOCK = 4096
LEAST, AVERAGE, MOST = 8 << 10, 32 << 10, 128 << 10
WINDOW = 48
_HASH_BYTES = 32  # of a block, in the index that has to be fetched, too
_ZSTD = ("-comp", "zstd", "-Xcompression-level", "19")
_PLAIN = ("-noI", "-noD", "-noF", "-noX")
KINDS: dict[str, tuple[str, ...]] = {
    "zstd -b 4K": (*_ZSTD, "-b", "4K"),
    "zstd -b 64K": (*_ZSTD, "-b", "64K"),
    "zstd -b 128K": (*_ZSTD, "-b", "128K"),
    "zstd -b 1M": (*_ZSTD, "-b", "1M"),
    "zstd -b 128K -noI": (*_ZSTD, "-b", "128K", "-noI"),
    "xz -b 128K": ("-comp", "xz", "-b", "128K"),
    "uncompressed -b 128K": (*_PLAIN, "-b", "128K"),
    "uncompressed, no fragments": (*_PLAIN, "-b", "128K", "-no-fragments"),
}
ALL = "all"  # some minutes for each
USUAL = ("zstd -b 128K", "zstd -b 4K", "uncompressed -b 128K")  # the first is what `build` makes


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", type=Path, metavar="A.img")
    parser.add_argument("new", type=Path, metavar="B.img")
    parser.add_argument(
        "--kind", action="append", metavar="NAME", help=f"some of: {', '.join((*KINDS, ALL))}; {len(USUAL)} without"
    )


def main(asked: argparse.Namespace) -> int:
    kinds = asked.kind or USUAL
    if unknown := set(kinds) - KINDS.keys() - {ALL}:
        raise UsageError(f"--kind {', '.join(sorted(unknown))}: expected some of {', '.join((*KINDS, ALL))}")
    for one in (asked.old, asked.new):
        image.release(one)
    table = Table(title=f"from {asked.old.name} to {asked.new.name}")
    for name in ("squashfs", "bytes", "blocks: bytes", "of it", "with the index", "chunks: bytes", "of it"):
        table.add_column(name, justify="left" if name == "squashfs" else "right")
    with tempfile.TemporaryDirectory() as scratch:
        folders = Path(scratch, "old"), Path(scratch, "new")
        for source, folder in zip((asked.old, asked.new), folders, strict=True):
            image.unpack(source, folder)
        files = tree.differences(folders[0], folders[1])
        _add(table, "as they are", asked.old, asked.new)
        for name in KINDS if ALL in kinds else kinds:
            made = [folder.with_suffix(".img") for folder in folders]
            for folder, to in zip(folders, made, strict=True):
                image.squash(folder, to, 1, KINDS[name])
            _add(table, name, *made)
        changed = sum((folders[1] / name).lstat().st_size for name in files if (folders[1] / name).is_file())
    console = Console(highlight=False, width=120)
    console.print(table)
    some = f"{', '.join(files[:8])}{' ...' if files[8:] else ''}"
    console.print(f"{len(files)} files differ, {changed:,} bytes in the new image: {some}")
    return 0


def _add(table: Table, name: str, old: Path, new: Path) -> None:
    whole = new.stat().st_size
    blocks, chunks = _missing(_blocks(old), _blocks(new)), _missing(_chunks(old), _chunks(new))
    index = blocks + -(-whole // BLOCK) * _HASH_BYTES
    shares = [f"{number / whole:.1%}" for number in (blocks, index, chunks)]
    table.add_row(name, f"{whole:,}", f"{blocks:,}", *shares[:2], f"{chunks:,}", shares[2])


def _missing(old: Iterator[bytes], new: Iterator[bytes]) -> int:
    """Bytes of the new pieces that the old ones do not have; each is fetched once."""
    have = {hashlib.sha256(piece).digest() for piece in old}
    missing = 0
    for piece in new:
        digest = hashlib.sha256(piece).digest()
        if digest not in have:
            have.add(digest)
            missing += len(piece)
    return missing


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            yield block


def _chunks(file: Path) -> Iterator[bytes]:
    content = file.read_bytes()
    begins = 0
    for end in boundaries(content):
        yield content[begins:end]
        begins = end


def boundaries(content: bytes) -> Iterator[int]:
    """Ends of chunks, the last one included: where a hash of the last WINDOW bytes has its lowest bits zero."""
    wanted = _candidates(np.frombuffer(content, np.uint8))
    begins = 0
    position = 0
    while begins < len(content):
        position = int(np.searchsorted(wanted, begins + LEAST, side="left"))
        end = int(wanted[position]) if position < len(wanted) else len(content)
        begins = min(end, begins + MOST, len(content))
        yield begins


def _candidates(content: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A buzhash over WINDOW bytes at each place, in pieces that memory can hold."""
    table = np.random.default_rng(20).integers(0, 1 << 32, 256, dtype=np.uint32)
    found = []
    step = 1 << 22
    for begin in range(0, max(len(content) - WINDOW + 1, 0), step):
        piece = table[content[begin : begin + step + WINDOW - 1]]
        count = len(piece) - WINDOW + 1
        rolled = np.zeros(count, np.uint32)
        for place in range(WINDOW):
            turn = np.uint32((WINDOW - 1 - place) % 32)
            values = piece[place : place + count]
            rolled ^= (values << turn) | (values >> np.uint32(32 - turn)) if turn else values
        found.append(np.flatnonzero(rolled & np.uint32(AVERAGE - 1) == 0) + begin + WINDOW)
    return np.concatenate(found) if found else np.empty(0, np.int64)
