"""The whole self-test as a person types it, and its message to itself through a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import paths
from edge.cli import assemble
from edge.cli.checks import broker as rows
from edge.cli.checks import phantom
from edge.cli.site import Site
from edge.errors import UplinkError
from tests.support.broker import Broker, missing_tools
from tests.support.command import endoedge

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
SITE = """device = "box"
pipeline = "{pipeline}"
run_dir = "run"
[capture]
source = "test"
[outbox]
path = "outbox.db"
max_mib = 8
[record]
max_mib = 8
[uplink]
host = "127.0.0.1"
port = {port}
username = "box"
password_file = "password"
"""
ALL = "user box\ntopic readwrite endoedge/box/#\n"


def site_file(folder: Path, port: int, pipeline: str = "colonoscopy") -> Path:
    (folder / "password").write_text("secret\n")
    file = folder / "endoedge.toml"
    file.write_text(SITE.format(pipeline=pipeline, port=port))
    return file


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path, users={"box": "secret"}, acl=ALL) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, broker: Broker) -> Site:
    return assemble.load_site(site_file(tmp_path, broker.port))


def restarted(broker: Broker, acl: str) -> None:
    broker.stop()
    broker.set_acl(acl)
    broker.start()


def test_all_of_it_on_one_page(tmp_path: Path, broker: Broker) -> None:
    file, result = site_file(tmp_path, broker.port), tmp_path / "selftest.json"
    done = endoedge("check", "--deep", "-c", file, "--to", result, timeout_s=110)
    lines = done.stdout.splitlines()
    report = json.loads(result.read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert (report["ok"], report["exit"]) == (True, 0)
    said = {row["what"]: row["good"] for row in report["checks"]}
    assert said["phantom"] is said["broker"] is said["disk"] is said["memory"] is True
    assert said["certificates"] is None


def test_nothing_that_works_is_a_failure_with_advice(tmp_path: Path) -> None:
    file = tmp_path / "endoedge.toml"
    file.write_text("device = 1\n")
    done = endoedge("check", "--deep", "--json", "-c", file, timeout_s=110)
    assert done.returncode == 1
    report = json.loads(done.stdout.splitlines()[-1])
    assert endoedge("check", "-c", file, "--to", tmp_path / "nowhere/x").stderr == (
        f"endoedge check: --to {tmp_path}/nowhere/x: cannot be written: No such file or directory\n"
    )
    (bad,) = [row for row in report["checks"] if row["good"] is False and row["what"] != "watchdog"]
    assert (bad["what"], bad["mend"]) == ("configuration", "mend the named key")


def test_there_and_back(site: Site) -> None:
    assert "endoedge/box/check and back in" in rows.round_trip(site)


@pytest.mark.parametrize(
    ("acl", "said"),
    [
        ("user box\ntopic read endoedge/box/#\n", "may not publish on endoedge/box/check .*pattern readwrite"),
        ("user box\ntopic write endoedge/box/#\n", "does not come back: the ACL lets us write, not read"),
    ],
)
def test_half_an_acl(site: Site, broker: Broker, monkeypatch: pytest.MonkeyPatch, acl: str, said: str) -> None:
    monkeypatch.setattr(rows, "WITHIN_S", 1.0)
    restarted(broker, acl)
    with pytest.raises(UplinkError, match=said):
        rows.round_trip(site)


@pytest.mark.parametrize("pipeline", ["colonoscopy", "gastroscopy"])
def test_the_golden_events_are_those_of_the_released_pipeline(tmp_path: Path, pipeline: str) -> None:
    """A release that changes what the box says changes them, too: tools/golden_events.py."""
    site = assemble.load_site(site_file(tmp_path, 1, pipeline))
    golden, clip = phantom.load(paths.data_dir("pipelines") / f"{pipeline}.toml")
    loaded = assemble.load_model(site)
    assert (golden.model, golden.model_version) == (loaded.manifest.name, loaded.manifest.version)
    assert golden.pipeline_sha256 == phantom.digest(Path(site.pipeline_file))
    backend = assemble.open_backend(site, loaded)
    try:
        found = phantom.told(phantom.watched(site, loaded, backend, clip), golden.fps)
    finally:
        backend.close()
    assert phantom.differences(found, golden) == []
    assert [(one.event, one.about) for one in found].count(("alert", "polyp")) == 1


def test_a_pipeline_that_says_other_things_is_found(tmp_path: Path) -> None:
    site = assemble.load_site(site_file(tmp_path, 1))
    slower = Path(site.pipeline_file).read_text().replace("confirm = 7 ", "confirm = 25 ").replace("= 9 ", "= 25 ")
    (tmp_path / "colonoscopy.toml").write_text(slower)
    (tmp_path / "golden").symlink_to(paths.data_dir("pipelines") / "golden")
    other = tmp_path / "endoedge.toml"
    other.write_text('pipelines_dir = "."\n' + other.read_text())
    site = assemble.load_site(other)
    loaded = assemble.load_model(site)
    backend = assemble.open_backend(site, loaded)
    try:
        row = phantom.row(site, loaded, backend)
    finally:
        backend.close()
    assert row.good is False
    assert "not said: alert polyp" in row.found
    assert "a pipeline that this one is not" in row.found
