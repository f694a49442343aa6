"""A release's environment, the same bytes wherever and whenever it is made.

It is made apart from the distribution's packages, so that it has all it needs but PyGObject, and is told of them at the
end. What pip leaves of this machine (its folder's name, times, the order of things) is taken away.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge.errors import UpdateError

HOME = "/opt/endoedge/venv"  # where a box has it
PYTHON = "/usr/bin/python3"  # the distribution's, here and there
_NAME = re.compile(r"[-_.]+")
_LONG = re.compile(rb"\A#!/bin/sh\n'''exec' [^\n]*\n' '''\n")  # pip's way around a first line that is too long
_SHORT = re.compile(rb"\A#![^\n]*/bin/python[0-9.]*\n")


def make(source: Path, at: Path, extras: Sequence[str], wheels: Path | None) -> dict[str, str]:
    """Installs the project in `source` (with its constraints.txt) into `at`. Returns what is installed: names and
    versions. Raises UpdateError: something is not pinned, or cannot be installed."""
    constraints = source / "constraints.txt"
    wanted = pinned(constraints)
    if "setuptools" not in wanted:
        raise UpdateError("constraints.txt: setuptools is not pinned, and it makes our own wheel")
    uri = constraints.as_uri()  # pip splits paths at blanks
    environment = _clean() | {"PIP_CONSTRAINT": uri, "PIP_BUILD_CONSTRAINT": uri}
    _run("venv", [PYTHON, "-m", "venv", "--without-pip", str(at)], environment)
    command = [str(at / "bin" / "python"), str(_pip(at.parent)), "--quiet", "--disable-pip-version-check", "install"]
    command += ["--no-compile", "--no-warn-script-location", "--only-binary", ":all:"]
    if wheels is not None:
        command += ["--no-index", "--find-links", str(wheels.resolve())]
    _run("pip install", [*command, f"{source}[{','.join(extras)}]" if extras else str(source)], environment)
    shutil.rmtree(_pip(at.parent).parent)
    found = _installed(at)
    wanted["endoedge"] = found.get("endoedge", "")
    loose = [f"{name}=={number}" for name, number in found.items() if wanted.get(name) != number]
    if loose:
        raise UpdateError(f"not pinned in constraints.txt, so not the same tomorrow: {', '.join(loose)}")
    return found


def _pip(beside: Path) -> Path:
    """Ours, alone in a folder, so that it takes nothing else of ours for installed there."""
    alone = beside / "pip-alone" / "pip"
    if not alone.exists():
        shutil.copytree(str(importlib.metadata.distribution("pip").locate_file("pip")), alone)
    return alone


def settle(at: Path) -> None:
    """Takes this machine out of it, and compiles it for where boxes have it."""
    for path in (at / "bin").glob("[aA]ctivate*"):
        path.unlink()
    for path in sorted((at / "bin").iterdir()):
        if path.is_file() and not path.is_symlink():
            first_line(path)
    for path in at.rglob("__pycache__"):
        shutil.rmtree(path)
    for record in sorted(at.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        record.with_name("direct_url.json").unlink(missing_ok=True)
        _record(record)
    version = subprocess.run(
        [PYTHON, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    words = f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {version}\n"
    (at / "pyvenv.cfg").write_text(words, encoding="ascii")
    command = [PYTHON, "-m", "compileall", "-qq", "-f", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(at), "-p", HOME, str(at / "lib")]
    # What others ship for other Pythons does not compile, and that is said by an exit code.
    subprocess.run(command, env=_clean() | {"PYTHONHASHSEED": "0"}, capture_output=True, check=False)


@contextmanager
def apart(at: Path) -> Iterator[None]:
    """It knows nothing of the distribution's packages, while it is looked at."""
    settings = at / "pyvenv.cfg"
    content = settings.read_bytes()
    settings.write_bytes(content.replace(b"site-packages = true", b"site-packages = false"))
    try:
        yield
    finally:
        settings.write_bytes(content)


def python_version(at: Path) -> str:
    """ "3.11" """
    [folder] = (at / "lib").glob("python3.*")
    return folder.name.removeprefix("python")


def _installed(at: Path) -> dict[str, str]:
    program = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    done = subprocess.run([at / "bin" / "python", "-I", "-c", program], capture_output=True, text=True, check=True)
    found: Mapping[str, str] = json.loads(done.stdout)
    return {_NAME.sub("-", name).lower(): version for name, version in sorted(found.items())}


def pinned(constraints: Path) -> dict[str, str]:
    """As this Python has them."""
    from packaging.requirements import Requirement

    found = {}
    for line in constraints.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        asked = Requirement(line)
        if asked.marker is None or asked.marker.evaluate():
            found[_NAME.sub("-", asked.name).lower()] = str(asked.specifier).removeprefix("==")
    return found


def first_line(script: Path) -> None:
    content = script.read_bytes()
    line = f"#!{HOME}/bin/python\n".encode()
    for pattern in (_LONG, _SHORT):
        content, changed = pattern.subn(line, content, count=1)
        if changed:
            script.write_bytes(content)
            return


def _record(record: Path) -> None:
    """The list of a package's files, of those that are there, as they are now."""
    folder = record.parent.parent
    names = {row[0] for row in csv.reader(io.StringIO(record.read_text(encoding="utf-8"))) if row}
    rows = [_row(folder, name) for name in sorted(names) if (folder / name).exists() and folder / name != record]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*rows, (str(record.relative_to(folder)), "", "")])
    record.write_text(text.getvalue(), encoding="utf-8")


def _row(folder: Path, name: str) -> tuple[str, str, str]:
    content = (folder / name).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return name, f"sha256={digest}", str(len(content))


def _clean() -> dict[str, str]:
    """Of what is set here, what does not change what is made."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY")
    pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    return {name: os.environ[name] for name in kept if name in os.environ} | pip


def _run(what: str, command: Iterable[str], environment: Mapping[str, str]) -> None:
    words = list(command)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        found = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["it failed"]
        raise UpdateError(f"{what}: {found[0]}")
