#!/usr/bin/env python3
"""A box's software bill of materials: one CycloneDX 1.6 document (JSON) of everything that `tools/install.sh` brings.

Python packages come from `cyclonedx-py environment`, of which the closure of `endoedge` and the box's extras is kept;
Debian packages from dpkg's own status file, as the closure of what `tools/setup.sh list` names; models and pipelines
from their folders, each file with its digest. What is not installed, or is not what its manifest says, is an error.

The same machine gives the same bytes: everything is sorted, the serial number is made of the content, and a time is
there only where SOURCE_DATE_EPOCH says one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge import model  # noqa: E402
from edge.config import decode_toml, read_toml  # noqa: E402
from edge.errors import EdgeError, ModelError  # noqa: E402
from edge.types import Manifest  # noqa: E402
from tools.debs import Deb, closure, installed  # noqa: E402

EXTRAS = ("metrics", "console", "update")  # of pyproject.toml: what tools/install.sh installs
SPEC = "1.6"
MAIN = "root-component"  # as cyclonedx-py calls what the document is about
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:endoedge:sbom")

Component = dict[str, Any]


class Part(NamedTuple):
    """Components of one kind. `edges`: component → those it needs; `tops`: those that the box itself needs."""

    components: list[Component]
    edges: dict[str, list[str]]
    tops: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="instead of stdout")
    parser.add_argument("--python", default=sys.executable, help="of the environment that is told of")
    parser.add_argument("--root", type=Path, default=Path("/"), help="whose dpkg is asked")
    options = parser.parse_args()
    try:
        environment = python_document(options.python)
        parts = {"Python packages": python_part(environment), "Debian packages": deb_part(options.root, wanted_debs())}
        parts["models and pipelines"] = model_part(ROOT)
        text = document(environment["metadata"], list(parts.values()))
    except EdgeError as exc:
        print(f"sbom: {exc}", file=sys.stderr)
        return exc.exit_code
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    counts = ", ".join(f"{len(part.components)} {kind}" for kind, part in parts.items())
    print(f"sbom: {counts}; valid CycloneDX {SPEC}", file=sys.stderr)
    return 0


# ---------------------------------------------------------------------------------------------- Python


def of_release(python: Path, share: Path, project: Path) -> str:
    """Of a release image (tools/release): its environment, models and pipelines. What its box has from the
    distribution is the box's. No time is in it."""
    found = python_document(str(python), project)
    metadata = {key: value for key, value in found["metadata"].items() if key != "timestamp"}
    return document(metadata, [python_part(found, project), model_part(share)])


def python_document(python: str, project: Path = ROOT / "pyproject.toml") -> dict[str, Any]:
    """What cyclonedx-py says of a whole environment."""
    words = ["environment", "--output-reproducible", "--sv", SPEC, "--of", "JSON"]
    words += ["--pyproject", str(project), python]
    done = subprocess.run([sys.executable, "-m", "cyclonedx_py", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EdgeError(f"cyclonedx-py environment {python}: {last} (it comes with `tools/setup.sh dev`)")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def python_part(found: Mapping[str, Any], pyproject: Path = ROOT / "pyproject.toml") -> Part:
    """Of an environment, what `endoedge` with EXTRAS needs. Raises EdgeError when a part of that is not installed."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = read_toml(pyproject)["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    asked = [Requirement(line) for line in lines]
    needed = {canonicalize_name(one.name) for one in asked if one.marker is None or one.marker.evaluate()}
    edges = {entry["ref"]: entry.get("dependsOn", []) for entry in found["dependencies"]}
    by_ref = {component["bom-ref"]: component for component in found["components"]}
    tops = sorted(ref for ref in edges[MAIN] if canonicalize_name(by_ref[ref]["name"]) in needed)
    if lacking := needed - {canonicalize_name(by_ref[ref]["name"]) for ref in tops}:
        raise EdgeError(f"not installed in that Python: {', '.join(sorted(lacking))}")
    reached = _reached(tops, edges)
    return Part([by_ref[ref] for ref in reached], {ref: edges.get(ref, []) for ref in reached}, tops)


def _reached(tops: Iterable[str], edges: Mapping[str, Sequence[str]]) -> list[str]:
    reached: set[str] = set()
    ahead = list(tops)
    while ahead:
        ref = ahead.pop()
        if ref not in reached:
            reached.add(ref)
            ahead += edges.get(ref, [])
    return sorted(reached)


# ---------------------------------------------------------------------------------------------- Debian


def wanted_debs() -> list[str]:
    """What a box installs, by the script that does so."""
    return subprocess.run([ROOT / "tools/setup.sh", "list"], capture_output=True, text=True, check=True).stdout.split()


def deb_part(root: Path, wanted: Sequence[str]) -> Part:
    """Raises EdgeError: no dpkg there, a package that is not installed."""
    vendor, release = _distribution(root / "etc/os-release")
    packages = installed(root / "var/lib/dpkg/status")
    needs = closure(packages, wanted)
    refs = {name: _deb_purl(packages[name], vendor, release) for name in needs}
    components = [_deb_component(packages[name], ref) for name, ref in refs.items()]
    edges = {refs[name]: sorted(refs[needed] for needed in needs[name]) for name in needs}
    return Part(components, edges, [refs[name] for name in wanted])


def _distribution(os_release: Path) -> tuple[str, str]:
    """("debian", "12")"""
    try:
        pairs = (line.partition("=") for line in os_release.read_text(encoding="utf-8").splitlines())
    except OSError as exc:
        raise EdgeError(f"{os_release}: cannot be read: {exc.strerror}") from exc
    said = {key: value.strip('"') for key, _, value in pairs}
    return said.get("ID", "linux"), said.get("VERSION_ID", "")


def _deb_purl(deb: Deb, vendor: str, release: str) -> str:
    """See the `deb` type of the package URL specification."""
    version = quote(deb.version, safe="-._~")
    return f"pkg:deb/{vendor}/{deb.name}@{version}?arch={deb.architecture}&distro={vendor}-{release}"


def _deb_component(deb: Deb, ref: str) -> Component:
    return {
        "bom-ref": ref,
        "name": deb.name,
        "properties": [{"name": "endoedge:source", "value": deb.source}],
        "purl": ref,
        "supplier": {"name": deb.maintainer},
        "type": "library",
        "version": deb.version,
    }


# ---------------------------------------------------------------------------------------------- models


def model_part(root: Path) -> Part:
    """Released models and pipelines. Raises ModelError when a file is not what its manifest says."""
    folders = sorted(path.parent for path in (root / "models").glob("*/model.toml"))
    components = [_model_component(folder, root) for folder in folders]
    for path in sorted((root / "pipelines").glob("*.toml")):
        components.append(_file(path, root, hashlib.sha256(path.read_bytes()).hexdigest()))
    tops = sorted(component["bom-ref"] for component in components)
    return Part(components, {ref: [] for ref in tops}, tops)


def _model_component(folder: Path, root: Path) -> Component:
    manifest = decode_toml(folder / "model.toml", Manifest, error=ModelError)
    for entry in manifest.files.values():
        model.released(folder, entry.path, entry.sha256)
    files = {entry.path: entry.sha256 for entry in manifest.files.values()}
    return {
        "bom-ref": f"model:{manifest.name}@{manifest.version}",
        "components": [_file(folder / path, root, sha256) for path, sha256 in sorted(files.items())],
        "licenses": [{"license": {"name": manifest.licence}}],
        "name": manifest.name,
        "properties": [{"name": "endoedge:training-data", "value": each} for each in manifest.training_data],
        "type": "machine-learning-model",
        "version": manifest.version,
    }


def _file(path: Path, root: Path, sha256: str) -> Component:
    name = str(path.relative_to(root))
    hashes = [{"alg": "SHA-256", "content": sha256}]
    return {"bom-ref": f"file:{name}", "hashes": hashes, "name": name, "type": "file"}


# -------------------------------------------------------------------------------------------- document


def document(metadata: Mapping[str, Any], parts: Sequence[Part]) -> str:
    """The whole of it, as text that the schema accepts. `metadata`: of the Python part; it names this project."""
    tops = sorted(ref for part in parts for ref in part.tops)
    edges = {MAIN: tops, **{ref: sorted(needs) for part in parts for ref, needs in part.edges.items()}}
    content = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "components": sorted((one for part in parts for one in part.components), key=lambda one: str(one["bom-ref"])),
        "dependencies": list(_dependencies(edges)),
        "metadata": {**metadata, "properties": [{"name": "cdx:reproducible", "value": "true"}]},
        "specVersion": SPEC,
        "version": 1,
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True))
    text = json.dumps({**content, "serialNumber": f"urn:uuid:{serial}"}, indent=2, sort_keys=True) + "\n"
    if fault := invalid(text):
        raise EdgeError(f"not valid CycloneDX: {fault}")
    return text


def _dependencies(edges: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    for ref in sorted(edges):
        yield {"ref": ref, **({"dependsOn": sorted(set(edges[ref]))} if edges[ref] else {})}


def invalid(text: str) -> str:
    """What the schema of CycloneDX has against it; "" for nothing."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.from_version(SPEC)).validate_str(text)
    return str(fault or "").partition("\n")[0]


if __name__ == "__main__":
    raise SystemExit(main())
