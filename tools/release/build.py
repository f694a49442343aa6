"""Makes a release: endoedge-V.img, one squashfs of environment, models, pipelines and SBOM, and endoedge-V.json.

The same checkout, constraints and wheels give the same bytes, wherever and whenever they are made; the distribution's
Python is part of that, so a release is made on the distribution that its boxes have. A release with --content model (or
pipeline) takes all but the models (the pipelines) from the image of the release before, and is refused when anything
else has changed since.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from edge.errors import UpdateError, UsageError
from edge.release import FILE, Release
from edge.update.offer import Offer
from tools import sbom
from tools.release import ROOT, environment, image, tree

HELP = "make a release image"
EXTRAS = sbom.EXTRAS
SBOM = "sbom.cdx.json"
_DATA = {"model": "models", "pipeline": "pipelines"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", required=True, metavar="V", help="such as 1.4.2")
    parser.add_argument(
        "--hardware", action="append", required=True, metavar="H", help="such as endoedge-x86_64-debian12; repeatable"
    )
    parser.add_argument("--to", type=Path, required=True, metavar="DIR")
    parser.add_argument("--content", choices=("all", "model", "pipeline"), default="all", help="(%(default)s)")
    parser.add_argument("--like", type=Path, metavar="OLD.img", help="the release before (--content model, pipeline)")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="no package index: all wheels lie there")
    parser.add_argument("--extras", default="", metavar="LIST", help=f"of pyproject.toml, beside {','.join(EXTRAS)}")
    parser.add_argument("--changes", type=_text, default="", metavar="TEXT|@FILE", help="what is different")
    parser.add_argument("--clinical", type=_text, default="", metavar="TEXT|@FILE", help="... for patients and doctors")
    parser.add_argument("--models", type=Path, metavar="DIR", help="instead of the checkout's")
    parser.add_argument("--pipelines", type=Path, metavar="DIR", help="instead of the checkout's")
    system = Release(version="0").system
    parser.add_argument("--system", type=int, default=system, metavar="N", help="system part it needs (%(default)s)")
    parser.add_argument("--dirty", action="store_true", help="what is not committed, too; the release says so")


def main(asked: argparse.Namespace) -> int:
    check(asked)
    made = build(asked)
    print(f"{made}: {made.stat().st_size} bytes, sha256 {image.sha256(made)}")
    return 0


def build(asked: argparse.Namespace, root: Path = ROOT) -> Path:
    """Raises UpdateError. Nothing is left behind then."""
    dirty = tree.changed(root)
    if dirty and not asked.dirty:
        raise UpdateError(f"not committed: {_some(dirty)} (--dirty makes it all the same)")
    to: Path = asked.to
    to.mkdir(parents=True, exist_ok=True)
    commit = tree.git(root, "rev-parse", "HEAD").strip() + ("-dirty" if dirty else "")
    epoch = int(tree.git(root, "log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory(prefix="endoedge-release-") as scratch:
        folder = Path(scratch, "tree")
        if asked.content == "all":
            _whole(asked, root, Path(scratch))
        else:
            _like(asked, root, Path(scratch), commit)
        _described(asked, root, folder, commit, epoch)
        tree.settle(folder)
        if found := tree.leaks(folder, scratch.encode()):
            raise UpdateError(f"the folder in which it was made is named in {_some(found)}")
        target = to / f"endoedge-{asked.version}.img"
        if asked.content != "all":
            _only(asked, folder, Path(scratch))
        image.squash(folder, target, epoch)
        (to / f"endoedge-{asked.version}.json").write_bytes((folder / FILE).read_bytes())
    return target


def _whole(asked: argparse.Namespace, root: Path, scratch: Path) -> None:
    source, folder = scratch / "source", scratch / "tree"
    tree.copy(root, tree.PROGRAM, source)
    extras = [*EXTRAS, *(one for one in asked.extras.split(",") if one)]
    environment.make(source, folder / "venv", extras, asked.wheels)
    for name in _DATA.values():
        _data(asked, root, name, folder / "share" / name)
    environment.settle(folder / "venv")


def _like(asked: argparse.Namespace, root: Path, scratch: Path, commit: str) -> None:
    """The release before, with other models (or pipelines)."""
    folder, own = scratch / "tree", _DATA[asked.content]
    image.unpack(asked.like, folder)
    before = image.release(asked.like)
    if sorted(before.hardware) != sorted(asked.hardware):
        raise UpdateError(f"{asked.like}: it is for {', '.join(before.hardware)}, not {', '.join(asked.hardware)}")
    if found := _changed_since(root, before.commit.removesuffix("-dirty"), commit):
        since = f"{before.version} ({before.commit[:12]})"
        raise UpdateError(f"more than {own} has changed since {since}: {_some(found)} (--content all)")
    for name in _DATA.values():
        coming = scratch / "coming" / name
        _data(asked, root, name, coming)
        at = folder / "share" / name
        if name == own:
            tree.replace(at, coming)
        elif found := tree.differences(at, coming):
            names = _some([f"{name}/{one}" for one in found])
            raise UpdateError(f"more than {own} has changed since {before.version}: {names} (--content all)")


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:5])}{' ...' if names[5:] else ''}"


def _only(asked: argparse.Namespace, folder: Path, scratch: Path) -> None:
    """Looked at once more, in the end: nothing but what was said is different."""
    image.unpack(asked.like, scratch / "before")
    apart = (f"share/{_DATA[asked.content]}", FILE, SBOM)
    if found := tree.differences(scratch / "before", folder, apart):
        raise UpdateError(f"{asked.like}: also different: {_some(found)}")


def _changed_since(root: Path, before: str, commit: str) -> list[str]:
    """Of the program, between that commit and what lies here."""
    against = [before] if commit.endswith("-dirty") else [before, commit]
    return tree.git(root, "diff", "--name-only", *against, "--", *tree.PROGRAM).splitlines()


def _data(asked: argparse.Namespace, root: Path, name: str, to: Path) -> None:
    """Models or pipelines, from where they were said to be."""
    given: Path | None = getattr(asked, name)
    if given is None:
        tree.copy(root, [name], to.parent)
    else:
        tree.copy_all(given, to)
    if not to.is_dir():
        raise UpdateError(f"{given or root / name}: nothing is there")


def _described(asked: argparse.Namespace, root: Path, folder: Path, commit: str, epoch: int) -> None:
    """release.json and the SBOM."""
    share = folder / "share"
    release = Release(
        version=asked.version,
        package=_package(folder / "venv"),
        content=asked.content,
        hardware=tuple(sorted(asked.hardware)),
        system=asked.system,
        commit=commit,
        built_at=datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        python=environment.python_version(folder / "venv"),
        models={path.parent.name: tree.digest(path.parent) for path in sorted(share.glob("models/*/model.toml"))},
        pipelines={path.stem: image.sha256(path) for path in sorted(share.glob("pipelines/*.toml"))},
        changes=asked.changes,
        clinical=asked.clinical,
    )
    content = msgspec.json.format(msgspec.json.encode(release), indent=2)
    (folder / FILE).write_bytes(content + b"\n")
    with environment.apart(folder / "venv"):  # the distribution's packages are the box's, not the release's
        text = sbom.of_release(folder / "venv" / "bin" / "python", share, root / "pyproject.toml")
    (folder / SBOM).write_text(text, encoding="utf-8")


def _package(venv: Path) -> str:
    [folder] = venv.glob("lib/python3.*/site-packages/endoedge-*.dist-info")
    return folder.name.removeprefix("endoedge-").removesuffix(".dist-info")


def check(asked: argparse.Namespace) -> None:
    """What is said is what an offer can carry."""
    apart = asked.content != "all"
    if apart != (asked.like is not None):
        raise UsageError("--like OLD.img belongs to --content model and --content pipeline")
    if apart and (asked.wheels or asked.extras):
        raise UsageError(
            f"--content {asked.content}: the environment is the old one's; --wheels and --extras have no place"
        )
    bundle = {"url": "x", "size": 1, "sha256": "0" * 64}
    said = {"version": asked.version, "hardware": asked.hardware, "changes": asked.changes, "clinical": asked.clinical}
    try:
        msgspec.convert({"channel": "x", "bundle": bundle, "system": asked.system, **said}, Offer)
    except msgspec.ValidationError as exc:
        raise UsageError(str(exc)) from exc


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise argparse.ArgumentTypeError(f"{given}: {exc}") from exc
