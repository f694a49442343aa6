"""The folder that a training takes: whole or not there, the same for the same cases, without a name."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.learn.case import LearnError, SignedCase
from server.learn.export import MANIFEST, Options, Result, check, export
from server.words import values
from tests.learn.conftest import Make

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cases(make: Make) -> list[SignedCase]:
    """40 patients, two cases each; every one is a sample of its own."""
    return [
        make(struck=("S13",), number=f"case-{number}", patient=f"P{number // 2:05d}", seconds=600.0 + number)
        for number in range(80)
    ]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def lines(folder: Path, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]


def written(folder: Path, cases: list[SignedCase], **options: object) -> Result:
    return export(folder, cases, "endoedge test", Options(**options))  # type: ignore[arg-type]


def test_what_is_in_the_folder_is_in_its_manifest(tmp_path: Path, cases: list[SignedCase]) -> None:
    result = written(tmp_path / "out", cases)
    manifest = check(tmp_path / "out")
    assert manifest == result.manifest
    assert (manifest.cases, manifest.samples, manifest.pairs, manifest.twice) == (80, 80, 80, 0)
    assert set(tree(tmp_path / "out")) == {MANIFEST, *manifest.files}
    assert manifest.pictures == 4  # all of them have the same
    for line in lines(tmp_path / "out", "dpo.jsonl"):
        assert all((tmp_path / "out" / str(name)).is_file() for name in line["images"])  # type: ignore[union-attr, attr-defined]
        assert line["chosen"] != line["rejected"]
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0


def test_no_name_number_or_date_is_in_any_file(tmp_path: Path, make: Make) -> None:
    secrets = ["0000123", "Erika", "etest", "Eva", "Oberhuber", "example-box", "6f1c2a40", "2026-03-02", "1961", "Ward"]
    added = tuple(("findings", f"A possible polyp, {secret}.", ("F3",)) for secret in secrets)
    result = written(tmp_path / "out", [make(struck=("S13",), added=added)])
    everything = b"\n".join([*tree(tmp_path / "out").values(), *(name.encode() for name in tree(tmp_path / "out"))])
    assert result.manifest.samples == 1
    left = result.manifest.left_out_sentences
    assert (left["names or numbers that are known"], sum(left.values())) == (7, len(secrets) + 1)  # and the day
    assert [secret for secret in secrets if secret.lower().encode() in everything.lower()] == []


def test_one_patient_is_in_one_part(tmp_path: Path, cases: list[SignedCase]) -> None:
    written(tmp_path / "out", cases, held=0.5)
    parts: dict[int, set[str]] = {}
    for name in ("sft.jsonl", "sft.held.jsonl"):
        for line in lines(tmp_path / "out", name):
            text = json.dumps(line["completion"])
            number = next(n for n in range(80) if f"The procedure took {values.span(600 + n)}." in text)
            parts.setdefault(number // 2, set()).add(name)
    assert len(parts) == 40
    assert all(len(names) == 1 for names in parts.values())
    assert {"sft.jsonl", "sft.held.jsonl"} == set.union(*parts.values())


def test_the_same_cases_in_any_order_give_the_same_bytes(tmp_path: Path, cases: list[SignedCase]) -> None:
    written(tmp_path / "one", cases)
    random.Random(4).shuffle(cases)
    written(tmp_path / "other", cases)
    assert tree(tmp_path / "one") == tree(tmp_path / "other")
    written(tmp_path / "one", cases)  # again, over itself
    assert tree(tmp_path / "one") == tree(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_a_case_that_comes_twice_counts_once(tmp_path: Path, cases: list[SignedCase]) -> None:
    manifest = written(tmp_path / "out", [*cases[:3], *cases[:3]]).manifest
    assert (manifest.cases, manifest.samples, manifest.twice) == (6, 3, 3)


def test_a_folder_with_something_else_is_refused(tmp_path: Path, cases: list[SignedCase]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(LearnError, match="no export; name another"):
        written(tmp_path / "out", cases)
    assert tree(tmp_path / "out") == {"thesis.txt": b"mine"}
    (tmp_path / "file").write_text("")
    with pytest.raises(LearnError, match="expected a folder"):
        written(tmp_path / "file", cases)


def test_another_export_is_not_written_over(tmp_path: Path, cases: list[SignedCase]) -> None:
    written(tmp_path / "out", cases[:2])
    before = tree(tmp_path / "out")
    with pytest.raises(LearnError, match="another export; remove"):
        written(tmp_path / "out", cases)
    assert tree(tmp_path / "out") == before


def test_a_case_that_breaks_leaves_no_folder(tmp_path: Path, cases: list[SignedCase]) -> None:
    def broken() -> object:
        yield from cases[:5]
        raise LearnError("the database is gone")

    with pytest.raises(LearnError, match="gone"):
        export(tmp_path / "out", broken(), "test")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    assert written(tmp_path / "out", cases).manifest.samples == 80
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_changed_export_is_found_out(tmp_path: Path, cases: list[SignedCase]) -> None:
    written(tmp_path / "out", cases[:2])
    picture = next((tmp_path / "out" / "pictures").iterdir())
    picture.write_bytes(picture.read_bytes() + b"x")
    with pytest.raises(LearnError, match=f"{picture.name}: has changed"):
        check(tmp_path / "out")
    picture.unlink()
    with pytest.raises(LearnError, match=picture.name):
        check(tmp_path / "out")
    with pytest.raises(LearnError, match="expected a folder of"):
        check(tmp_path)


def test_a_manifest_that_points_elsewhere_is_refused(tmp_path: Path, cases: list[SignedCase]) -> None:
    written(tmp_path / "out", cases[:2])
    (tmp_path / "secret").write_bytes(b"x")
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    manifest["files"]["../secret"] = hashlib.sha256(b"x").hexdigest()
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(LearnError, match=r"\.\./secret: expected a file of this folder"):
        check(tmp_path / "out")


KILLED = """
import os, sys
from pathlib import Path
from msgspec.structs import replace
from server import edits
from server.learn import export as module
from server.learn.case import SignedCase
from server.report import Signature
from tools import export_example
record, frames = export_example.example()
signed = edits.sign(export_example.draft(), Signature(account="e", name="E", at="2026-03-02T10:05:11Z"), 1)
case = SignedCase(record, export_example.draft(), signed, frames, export_example.PATIENT)
left = int(sys.argv[2])
real = module.write_atomically
def write(path, content):
    global left
    if left == 0:
        os.kill(os.getpid(), 9)
    left -= 1
    real(path, content)
module.write_atomically = write
module.export(Path(sys.argv[1]), [case], "test")
"""


def test_killed_anywhere_it_is_whole_or_not_there(tmp_path: Path) -> None:
    """A real kill among its pictures, its files, and before the manifest; the next export takes over and clears up."""
    out = tmp_path / "out"

    def run(writes: int) -> int:
        return subprocess.run([sys.executable, "-c", KILLED, str(out), str(writes)], cwd=ROOT, check=False).returncode

    for writes in (1, 3, 4):  # the second one has all 4 pictures
        assert run(writes) == -signal.SIGKILL
        assert not out.exists()
    assert run(5) == 0  # 4 files and the manifest: no picture was written again
    assert check(out).samples == 1
    assert list(tmp_path.iterdir()) == [out]
