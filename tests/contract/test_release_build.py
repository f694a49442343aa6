"""Release images of a checkout in miniature, made for real: git, venv, pip, cyclonedx-py, mksquashfs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from edge.errors import ModelError, UpdateError, UsageError
from edge.release import Release
from tests.support import releases
from tools.release import environment, image, tree

pytestmark = [pytest.mark.skipif(bool(releases.missing()), reason=releases.missing()), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return releases.wheels(tmp_path_factory.mktemp("wheels") / "all of them")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return releases.checkout(tmp_path / "checkout")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> tuple[Path, Path]:
    """A checkout and its image."""
    root = releases.checkout(tmp_path_factory.mktemp("checkout") / "root")
    return root, releases.built(root, root.parent / "out", "--wheels", str(wheels), "--changes", "New.")


def test_it_is_whole(made: tuple[Path, Path], tmp_path: Path) -> None:
    root, img = made
    folder = tmp_path / "tree"
    image.unpack(img, folder)
    release = image.release(img)
    assert json.loads(img.with_suffix(".json").read_text()) == json.loads((folder / "release.json").read_text())
    assert (release.version, release.package, release.content, release.changes) == ("1.2.0", "0.1.0", "all", "New.")
    assert release.hardware == (releases.HARDWARE,)
    assert release.commit == tree.git(root, "rev-parse", "HEAD").strip()
    assert release.built_at == "2030-01-02T03:04:05Z"
    assert release.models == {"green": tree.digest(root / "models" / "green")}
    assert release.pipelines == {"colonoscopy": image.sha256(root / "pipelines" / "colonoscopy.toml")}
    assert tree.listing(folder / "share" / "models") == tree.listing(root / "models")
    sbom = json.loads((folder / "sbom.cdx.json").read_text())
    assert {"endoedge", "typing_extensions", "green"} <= {
        one["name"] for one in [*sbom["components"], sbom["metadata"]["component"]]
    }
    assert not [one for one in sbom["components"] if one["bom-ref"].startswith("pkg:deb/")]


def test_it_runs_where_it_was_not_made(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Its program, with nothing compiled anew; the first line is for where boxes have it."""
    venv = unpacked(made[1], tmp_path) / "venv"
    assert said(venv, venv / "bin" / "endoedge") == "edge runs\n"
    assert (venv / "bin" / "endoedge").read_text().startswith(f"#!{environment.HOME}/bin/python\n")
    compiled = Path(said(venv, "-c", "import edge; print(edge.__cached__)").strip()).read_bytes()
    assert compiled[4:8] == b"\1\0\0\0"  # with a hash that is not looked at
    assert f"{environment.HOME}/lib/python3.".encode() in compiled
    assert "/dist-packages" in said(venv, "-c", "import sys; print(sys.path)")  # where PyGObject is


def said(venv: Path, *arguments: object) -> str:
    command = [venv / "bin" / "python", "-I", *map(str, arguments)]  # nothing of this checkout
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def unpacked(img: Path, to: Path) -> Path:
    image.unpack(img, to / img.stem)
    return to / img.stem


def test_nothing_of_its_making_is_in_it(made: tuple[Path, Path], tmp_path: Path) -> None:
    folder = unpacked(made[1], tmp_path)
    names = {path.name for path in folder.rglob("*")}
    assert not names & {"pip", "activate", "Activate.ps1", "direct_url.json", "setuptools", "_distutils_hack"}
    assert tree.leaks(folder, b"endoedge-release-") == []
    count, *wrong = said(folder / "venv", "-c", RECORDS).split()
    assert int(count) > 5
    assert wrong == []


RECORDS = """
import base64, hashlib, importlib.metadata, sys
count, wrong = 0, []
for found in importlib.metadata.distributions(path=[p for p in sys.path if "/venv/" in p]):
    for file in found.files:
        count += 1
        content = file.locate().read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if file.hash and digest != file.hash.value:
            wrong.append(str(file))
print(count, *wrong)
"""


def test_all_of_it_is_root_s_and_of_the_commit_s_time(made: tuple[Path, Path]) -> None:
    listing = subprocess.run(["unsquashfs", "-lln", made[1]], capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=5) for line in listing.splitlines() if "squashfs-root" in line]
    assert len(lines) > 50
    assert {line[1] for line in lines} == {"0/0"}
    assert {line[0] for line in lines} == {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"}
    assert {line[3] for line in lines} <= {"2030-01-02", "2030-01-01", "2030-01-03"}  # in this machine's zone


def test_the_same_again(made: tuple[Path, Path], wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another folder, of another clone, with other settings of the machine."""
    root, img = made
    other = tmp_path / "quite another place" / "with a longer name" / "checkout"
    other.parent.mkdir(parents=True)
    subprocess.run(["git", "clone", "-q", root, other], check=True, capture_output=True)
    scratch = tmp_path / "scratch folder"
    scratch.mkdir()
    for name, value in {"TMPDIR": str(scratch), "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1", "LC_ALL": "C"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    before = os.umask(0o077)
    try:
        again = releases.built(other, tmp_path / "out", "--wheels", str(wheels), "--changes", "New.")
    finally:
        os.umask(before)
        monkeypatch.setattr("tempfile.tempdir", None)
    assert image.sha256(again) == image.sha256(img)
    assert list(scratch.iterdir()) == []


def test_what_is_not_committed_is_refused_or_said(checkout: Path, wheels: Path, tmp_path: Path) -> None:
    (checkout / "edge" / "more.py").write_text("")
    with pytest.raises(UpdateError, match=r"not committed: edge/more\.py"):
        releases.built(checkout, tmp_path / "out", "--wheels", str(wheels))
    (checkout / "edge" / "__init__.py").write_text("def main() -> None: print('changed')\n")
    img = releases.built(checkout, tmp_path / "out", "--wheels", str(wheels), "--dirty")
    assert image.release(img).commit.endswith("-dirty")
    assert said(unpacked(img, tmp_path) / "venv", "-c", "import edge; edge.main()") == "changed\n"


def test_what_is_not_pinned_is_refused(checkout: Path, wheels: Path, tmp_path: Path) -> None:
    constraints = (checkout / "constraints.txt").read_text().splitlines()
    for left, words in ((0, "typing-extensions=="), (1, "setuptools is not pinned")):
        (checkout / "constraints.txt").write_text(f"{constraints[left]}\n")
        with pytest.raises(UpdateError, match=words):
            releases.built(checkout, tmp_path / "out", "--wheels", str(wheels), "--dirty")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_wheel_that_is_not_there_is_named(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UpdateError, match=r"pip install: ERROR: .*setuptools"):
        releases.built(checkout, tmp_path / "out", "--wheels", str(tmp_path / "none"))


# ------------------------------------------------------------------------------------ model, pipeline alone


def changed(made: tuple[Path, Path], to: Path, *names: str) -> Path:
    """A clone in which these files have one more line, committed."""
    subprocess.run(["git", "clone", "-q", made[0], to], check=True, capture_output=True)
    for name in names:
        with (to / name).open("a") as file:
            file.write("# another line\n")
    releases.commit(to, "2030-02-03T04:05:06Z")
    return to


@pytest.mark.parametrize(
    ("content", "file"), [("model", "models/green/CARD.md"), ("pipeline", "pipelines/colonoscopy.toml")]
)
def test_only_that_is_different(content: str, file: str, made: tuple[Path, Path], tmp_path: Path) -> None:
    root = changed(made, tmp_path / "changed", file)
    img = releases.built(root, tmp_path, "--content", content, "--like", str(made[1]), version="1.2.1")
    release, before = image.release(img), image.release(made[1])
    assert (release.version, release.content) == ("1.2.1", content)
    assert (release.models != before.models, release.pipelines != before.pipelines) == (
        content == "model",
        content == "pipeline",
    )
    found = tree.differences(unpacked(made[1], tmp_path), unpacked(img, tmp_path))
    assert set(found) - {"sbom.cdx.json"} == {"release.json", f"share/{file}"}
    again = releases.built(root, tmp_path / "again", "--content", content, "--like", str(made[1]), version="1.2.1")
    assert image.sha256(again) == image.sha256(img)


def test_models_from_elsewhere(made: tuple[Path, Path], tmp_path: Path) -> None:
    root, img = made
    given = tmp_path / "models"
    tree.copy_all(root / "models", given)
    (given / "green" / "CARD.md").write_text("another one\n")
    words = ("--content", "model", "--like", str(img), "--models", str(given))
    after = releases.built(root, tmp_path / "out", *words, version="1.2.1")
    assert image.release(after).models == {"green": tree.digest(given / "green")}


@pytest.mark.parametrize("file", ["edge/__init__.py", "pipelines/colonoscopy.toml"])
def test_more_than_the_model_is_refused_by_name(file: str, made: tuple[Path, Path], tmp_path: Path) -> None:
    root = changed(made, tmp_path / "changed", file, "models/green/CARD.md")
    with pytest.raises(UpdateError, match=rf"more than models has changed since 1\.2\.0.*: {file} \(--content all\)"):
        releases.built(root, tmp_path / "out", "--content", "model", "--like", str(made[1]))
    assert list((tmp_path / "out").iterdir()) == []


def test_another_model_that_is_damaged_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    root = changed(made, tmp_path / "changed", "models/green/int8.onnx")
    with pytest.raises(ModelError, match=r"int8\.onnx"):
        releases.built(root, tmp_path / "out", "--content", "model", "--like", str(made[1]))


# --------------------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    "words",
    [
        ("--content", "model"),
        ("--like", "x.img"),
        ("--content", "model", "--like", "x.img", "--extras", "x"),
        ("--version", "not-one"),
        ("--hardware", "With Blanks"),
        ("--system", "0"),
        ("--clinical", "x" * 3000),
    ],
)
def test_what_makes_no_sense_is_usage(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        releases.built(tmp_path, tmp_path, *words)


def test_no_image_is_said(tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match=r"none\.img: not there"):
        image.release(tmp_path / "none.img")
    (tmp_path / "text.img").write_text("x" * 5000)
    with pytest.raises(UpdateError, match="unsquashfs"):
        image.release(tmp_path / "text.img")
    (tmp_path / "empty").mkdir()
    image.squash(tmp_path / "empty", tmp_path / "empty.img", 1)
    with pytest.raises(UpdateError, match=r"empty\.img: .*release\.json"):
        image.release(tmp_path / "empty.img")
    assert Release(version="1").system == 1
    assert stat.S_IMODE((tmp_path / "empty.img").stat().st_mode) & 0o400
