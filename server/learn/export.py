"""A folder of samples, in the form that trl takes: whole, or not there.

    manifest.json                      what is in it, by digest; what was left out, and why
    sft.jsonl, sft.held.jsonl          images, prompt, completion: what was signed
    dpo.jsonl, dpo.held.jsonl          images, prompt, chosen, rejected: what was signed, and the draft
    pictures/SHA256.jpg                key frames without metadata

One patient's cases are all in the same part; `held` is for looking, not for training. The same cases give the same
bytes in whatever order they come.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edge.durable import sync_folder, write_atomically
from edge.types import Struct
from server.learn import form
from server.learn.case import LearnError, SignedCase
from server.learn.samples import LeftOut, Sample, sample

VERSION = 1
MANIFEST, PICTURES = "manifest.json", "pictures"
_SHOWN = 20
FILES = ("sft.jsonl", "sft.held.jsonl", "dpo.jsonl", "dpo.held.jsonl")


class Options(Struct, frozen=True, kw_only=True):
    """`frames_most`: as the server's configuration has it. `held`: share of patients kept apart."""

    frames_most: Annotated[int, Meta(ge=0, le=32)] = 8
    held: Annotated[float, Meta(ge=0, lt=1)] = 0.1


class Manifest(Struct, frozen=True, kw_only=True):
    """`manifest.json`. No time, no name, no place: the same cases give the same manifest."""

    version: int = VERSION
    software: str
    prompts: dict[str, str]  # sha256 of the template that asks, by language
    cases: int  # that were looked at
    samples: int  # for supervised training
    pairs: int
    twice: int  # cases that gave a sample that was there already
    pictures: int
    languages: dict[str, int]
    left_out_cases: dict[str, int]
    left_out_sentences: dict[str, int]
    files: dict[str, str]  # sha256 by path


@dataclass
class Result:
    """For the one who exports. `told` and `details` may hold words of a person: they are shown and never kept."""

    manifest: Manifest
    told: Counter[str]  # why the check struck out a sentence
    details: list[str]

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        made = self.manifest
        yield f"{made.cases} cases: {made.samples} samples, {made.pairs} pairs, {made.pictures} pictures"
        for what, counted in (("cases", made.left_out_cases), ("sentences", made.left_out_sentences)):
            yield from (f"{count} {what} left out: {why}" for why, count in counted.items())
        yield from (f"  {count}  {reason}" for reason, count in self.told.most_common(_SHOWN))
        yield from (f"  {detail}" for detail in self.details[:_SHOWN])


@dataclass
class _Tally:
    cases: int = 0
    lines: dict[str, dict[str, bytes]] = field(default_factory=lambda: {name: {} for name in FILES})
    pictures: set[str] = field(default_factory=set)
    languages: Counter[str] = field(default_factory=Counter)
    twice: int = 0
    cases_left: Counter[str] = field(default_factory=Counter)
    sentences_left: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    details: list[str] = field(default_factory=list)


def export(folder: Path, cases: Iterable[SignedCase], software: str, options: Options | None = None) -> Result:
    """What a killed export had written of its pictures is taken over by the next one. Raises LearnError, and then there
    is no folder, or the one that was there."""
    options = options or Options()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _begun(folder) as begun:
            tally = _collect(begun, cases, options)
            _drop(begun / PICTURES, {f"{digest}.jpg" for digest in tally.pictures})
            manifest = _written(begun, tally, software)
            _named(begun, folder)
    except OSError as exc:
        raise LearnError(f"{exc.filename or folder}: {exc.strerror or exc}") from exc
    return Result(manifest, tally.told, tally.details)


def _collect(begun: Path, cases: Iterable[SignedCase], options: Options) -> _Tally:
    tally = _Tally()
    for case in cases:
        tally.cases += 1
        made = sample(case, options.frames_most)
        if isinstance(made, LeftOut):
            tally.cases_left[made.why] += 1
            tally.details += [f"{case.record.procedure}: {made.why}: {made.detail}"] if made.detail else []
            continue
        tally.sentences_left.update(made.left)
        tally.told.update(made.told)
        if made.id in tally.seen:
            tally.twice += 1
            continue
        tally.seen.add(made.id)
        tally.languages[made.language] += 1
        _keep(begun, tally, made, ".held" if _part(made.group) < options.held else "")
    return tally


def _keep(begun: Path, tally: _Tally, made: Sample, part: str) -> None:
    names = []
    for content in made.pictures:
        digest = hashlib.sha256(content).hexdigest()
        file = begun / PICTURES / f"{digest}.jpg"
        if digest not in tally.pictures and not (file.is_file() and _sha256(file) == digest):
            write_atomically(file, content)
        tally.pictures.add(digest)
        names.append(f"{PICTURES}/{digest}.jpg")
    common = {"id": made.id, "images": names, "prompt": made.messages}
    if made.whole:
        tally.lines[f"sft{part}.jsonl"][made.id] = _line({**common, "completion": _said(made.chosen)})
    if made.rejected:
        pair = {**common, "chosen": _said(made.chosen), "rejected": _said(made.rejected)}
        tally.lines[f"dpo{part}.jsonl"][made.id] = _line(pair)


def _written(begun: Path, tally: _Tally, software: str) -> Manifest:
    files = {f"{PICTURES}/{digest}.jpg": digest for digest in tally.pictures}
    for name, lines in tally.lines.items():
        content = b"".join(lines[key] for key in sorted(lines))
        write_atomically(begun / name, content)
        files[name] = hashlib.sha256(content).hexdigest()
    counted = {name: len(lines) for name, lines in tally.lines.items()}
    manifest = Manifest(
        software=software,
        prompts=form.prompt_digests(),
        cases=tally.cases,
        samples=counted["sft.jsonl"] + counted["sft.held.jsonl"],
        pairs=counted["dpo.jsonl"] + counted["dpo.held.jsonl"],
        twice=tally.twice,
        pictures=len(tally.pictures),
        languages=dict(sorted(tally.languages.items())),
        left_out_cases=dict(sorted(tally.cases_left.items())),
        left_out_sentences=dict(sorted(tally.sentences_left.items())),
        files=dict(sorted(files.items())),
    )
    write_atomically(begun / MANIFEST, json.dumps(msgspec.to_builtins(manifest), indent=1).encode() + b"\n")
    return manifest


# ------------------------------------------------------------------------------------------------ the folder


@contextlib.contextmanager
def _begun(folder: Path) -> Iterator[Path]:
    """Where it is written, beside the folder; one export at a time."""
    _refuse_foreign(folder)
    begun = folder.with_name(f".{folder.name}.begun")
    begun.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(begun, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise LearnError(f"{folder}: another export is being written there") from exc
        (begun / PICTURES).mkdir(exist_ok=True)
        _drop(begun, {PICTURES})
        try:
            yield begun
        except BaseException:
            shutil.rmtree(begun, ignore_errors=True)  # nobody's pictures lie about in a folder that nobody looks into
            raise
    finally:
        os.close(descriptor)


def _refuse_foreign(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise LearnError(f"{folder}: expected a folder, or nothing")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise LearnError(f"{folder}: is not empty, and what is in it is no export; name another folder")


def _named(begun: Path, folder: Path) -> None:
    """The whole of it gets its name at once. The same export may be there already."""
    sync_folder(begun / PICTURES)
    if folder.is_dir() and any(folder.iterdir()):
        if (folder / MANIFEST).read_bytes() != (begun / MANIFEST).read_bytes():
            raise LearnError(f"{folder}: holds another export; remove that, or name another folder")
        check(folder)
        shutil.rmtree(begun)
        return
    begun.replace(folder)
    sync_folder(folder.parent)


def _drop(folder: Path, kept: set[str]) -> None:
    """What a killed export left there and this one does not need."""
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


# -------------------------------------------------------------------------------------------------- reading


def check(folder: Path) -> Manifest:
    """A whole export: every file is there and is what the manifest says. Raises LearnError that names the file."""
    file = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
        if manifest.version != VERSION:
            raise LearnError(f"{file}: version {manifest.version}, expected {VERSION}")
        for name, digest in manifest.files.items():
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise LearnError(f"{file}: {name}: expected a file of this folder")
            if _sha256(folder / name) != digest:
                raise LearnError(f"{folder / name}: has changed since the export")
    except OSError as exc:
        raise LearnError(f"{exc.filename}: {exc.strerror}; expected a folder of `learn export`") from exc
    except msgspec.DecodeError as exc:
        raise LearnError(f"{file}: {exc}") from exc
    return manifest


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        digest = hashlib.sha256()
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _part(group: str) -> float:
    """0..1, always the same for one patient."""
    return int.from_bytes(hashlib.sha256(b"part/" + group.encode()).digest()[:6], "big") / 2**48


def _said(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]


def _line(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value) + b"\n"
