"""The software bill of materials: of a machine in miniature, and of this environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edge.errors import EdgeError, ModelError
from tests.support import models
from tools import sbom
from tools.debs import closure, installed

STATUS = """Package: mosquitto
Status: install ok installed
Maintainer: A Debian Team <team@debian.example>
Architecture: amd64
Version: 2.0.11-1.2+deb12u1
Pre-Depends: init-system-helpers (>= 1.54~)
Depends: libc6 (>= 2.36), mail-transport-agent | libwrap0:any
Description: a broker
 Depends: nothing-of-this-line

Package: init-system-helpers
Status: install ok installed
Architecture: all
Version: 1.65.2

Package: libc6
Status: install ok installed
Source: glibc (2.36-9)
Architecture: amd64
Version: 1:2.36-9+deb12u10
Depends: libgcc-s1

Package: gcc-runtime
Status: install ok installed
Architecture: amd64
Version: 12
Provides: libgcc-s1 (= 12), libgcc1
Depends: libc6

Package: libwrap0
Status: install ok installed
Architecture: amd64
Version: 7.6

Package: old
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: unasked
Status: install ok installed
Architecture: all
Version: 1
"""
METADATA = {"component": {"bom-ref": sbom.MAIN, "name": "endoedge", "type": "application", "version": "0"}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="Debian"\nID=debian\nVERSION_ID="12"\n')
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    return tmp_path


@pytest.fixture
def released(tmp_path: Path) -> Path:
    models.build(tmp_path / "models" / "green")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "colonoscopy.toml").write_text(models.tables())
    return tmp_path


def test_the_closure_of_debian_packages(root: Path) -> None:
    """Circles, alternatives, and names that another package provides."""
    assert closure(installed(root / "var/lib/dpkg/status"), ["mosquitto"]) == {
        "gcc-runtime": ["libc6"],
        "init-system-helpers": [],
        "libc6": ["gcc-runtime"],
        "libwrap0": [],
        "mosquitto": ["init-system-helpers", "libc6", "libwrap0"],
    }


def test_package_urls(root: Path) -> None:
    part = sbom.deb_part(root, ["mosquitto"])
    urls = {component["name"]: component["purl"] for component in part.components}
    assert urls["libc6"] == "pkg:deb/debian/libc6@1%3A2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12"
    assert part.tops == [urls["mosquitto"]]
    sources = {component["name"]: component["properties"][0]["value"] for component in part.components}
    assert sources["libc6"] == "glibc (2.36-9)"


@pytest.mark.parametrize(("wanted", "word"), [("old", "package old is not installed"), ("none", "package none is not")])
def test_what_is_not_installed_is_an_error(root: Path, wanted: str, word: str) -> None:
    with pytest.raises(EdgeError, match=word):
        sbom.deb_part(root, [wanted])


def test_a_broken_dependency_is_an_error(root: Path) -> None:
    status = root / "var/lib/dpkg/status"
    status.write_text(STATUS.replace("Package: libwrap0", "Package: another"))
    with pytest.raises(EdgeError, match="mosquitto needs mail-transport-agent or libwrap0, which is not"):
        sbom.deb_part(root, ["mosquitto"])
    with pytest.raises(EdgeError, match="is this a Debian or Ubuntu"):
        installed(root / "nothing")


def test_models_with_digests_and_where_they_come_from(released: Path) -> None:
    part = sbom.model_part(released)
    (model,) = (one for one in part.components if one["type"] == "machine-learning-model")
    assert {"name", "version", "licenses", "properties"} <= set(model)
    assert [file["name"] for file in model["components"]] == ["models/green/fp32.onnx", "models/green/int8.onnx"]
    assert "file:pipelines/colonoscopy.toml" in part.tops
    (released / "models/green/int8.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match="refused: its sha256"):
        sbom.model_part(released)


def test_the_document_is_valid_and_the_same_each_time(root: Path, released: Path) -> None:
    pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx-bom is not installed")
    parts = [sbom.deb_part(root, ["mosquitto"]), sbom.model_part(released)]
    text = sbom.document(METADATA, parts)
    assert text == sbom.document(METADATA, [sbom.model_part(released), sbom.deb_part(root, ["mosquitto"])])
    found = json.loads(text)
    names = [component["bom-ref"] for component in found["components"]]
    assert names == sorted(names)
    refs = {entry["ref"] for entry in found["dependencies"]}
    assert {need for entry in found["dependencies"] for need in entry.get("dependsOn", [])} <= refs
    other = sbom.document(METADATA, parts[:1])
    assert json.loads(other)["serialNumber"] != found["serialNumber"]


def test_what_is_not_valid_is_refused(root: Path) -> None:
    pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx-bom is not installed")
    part = sbom.deb_part(root, ["mosquitto"])
    part.components[0]["type"] = "a thing"
    with pytest.raises(EdgeError, match="not valid CycloneDX"):
        sbom.document(METADATA, [part])


def test_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cyclonedx_py", reason="cyclonedx-bom is not installed")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    environment = sbom.python_document(sys.executable)
    assert environment["metadata"]["timestamp"].startswith("2023-11-14")
    part = sbom.python_part(environment)
    names = {component["name"] for component in part.components}
    assert {"msgspec", "onnxruntime", "paho-mqtt", "pyserial", "prometheus_client"} <= names
    assert "torch" not in names
    environment["components"] = [one for one in environment["components"] if one["name"] != "paho-mqtt"]
    next(entry for entry in environment["dependencies"] if entry["ref"] == sbom.MAIN)["dependsOn"] = []
    with pytest.raises(EdgeError, match=r"not installed in that Python: .*paho-mqtt"):
        sbom.python_part(environment)


def test_the_script_that_installs_names_what_is_told_of() -> None:
    assert {"mosquitto", "python3-gi", "gstreamer1.0-libav"} <= set(sbom.wanted_debs())
