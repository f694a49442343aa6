"""Secrets and a patient's name are planted wherever they can be, the real box runs, breaks and is asked; then all that
it said, wrote and sent is searched for them.

Secrets may stand nowhere. The name of a recording (people name them after patients) may stand in what only this
machine's administrator reads, the log and `endoedge check`, which have to name the file that is wrong; nowhere else.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.cli import assemble
from edge.uplink.config import UplinkConfig
from edge.uplink.credentials import load
from edge.uplink.mqtt import Connected, Connection, Received
from tests.support.broker import free_port, missing_tools
from tests.support.command import ROOT
from tests.support.console import Person, make_keys, script
from tests.support.planted import DEVICE, PATIENT, SECRETS, Site, found
from tests.support.waiting import wait_for
from tests.support.ymodem import received

pytestmark = [
    pytest.mark.skipif(bool(missing_tools()), reason=missing_tools()),
    pytest.mark.timeout(180),
]
ENDS_WITHIN_S = 60
CRASH = """
import sys
from edge import cli
from edge.uplink import service
service._Uplink._report = lambda self: 1 / 0
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def command(site: Site, *words: str, program: tuple[str, ...] = ("-m", "edge.cli")) -> list[str]:
    return [sys.executable, *program, *words, "-c", str(site.file)]


@contextlib.contextmanager
def running(site: Site, part: str, log: Path, *program: str) -> Iterator[subprocess.Popen[bytes]]:
    words = command(site, "run", "-v", part, program=program or ("-m", "edge.cli"))
    environment = os.environ | site.environment | {"PYTHONPATH": str(ROOT)}
    with log.open("ab") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(ENDS_WITHIN_S)


def heard(site: Site, enough: int) -> Iterator[bytes]:
    """Topic and payload of all that is published, until telemetry with a core's word came and `enough` alerts."""
    ward = UplinkConfig(
        host="127.0.0.1",
        port=site.broker.port,
        username="ward",
        password_file=str(site.folder / "mqtt-password"),
        tls=assemble.load_site(site.file).uplink.tls,
    )
    connection = Connection(ward, load(ward), "ward")
    connection.open()
    alerts, telemetry, deadline = 0, False, time.monotonic() + ENDS_WITHIN_S
    with contextlib.closing(connection):
        while alerts < enough or not telemetry:
            assert time.monotonic() < deadline, f"{alerts} alerts, telemetry: {telemetry}"
            for happening in connection.step(0.1):
                if isinstance(happening, Connected):
                    connection.subscribe(["#"])
                if isinstance(happening, Received):
                    alerts += happening.topic.endswith("/alert")
                    telemetry |= happening.topic.endswith("/telemetry") and b'"core":{' in happening.payload
                    yield happening.topic.encode() + b" " + happening.payload


def journal(site: Site) -> Path:
    """What the processes have logged, as journalctl would show it."""
    lines = [line for log in site.folder.glob("*.log") for line in log.read_text("utf-8", "replace").splitlines()]
    target = site.folder / "journal.json"
    target.write_text("\n".join(json.dumps({"MESSAGE": line, "PRIORITY": "4"}) for line in lines))
    return target


def asked(site: Site, selftest: bool = False) -> dict[str, bytes]:
    """All that a person with every right hears at the console, and the bundle, unpacked."""
    person = Person(
        site.folder,
        device=DEVICE,
        config_file=site.file,
        journalctl=script(site.folder / "journalctl", f"cat {journal(site)}"),
        check=command(site, "check", "--json"),
    )
    said = {"the machine's word": person.desk.box.snapshot()}
    asks = ("status", "signal", "faults", "model", "outbox", "procedure", "network", "time")
    said |= {f"console: {ask}": person.asks(ask).encode() for ask in asks}
    person.logs_in(make_keys(site.folder))
    said |= {f"console: {ask}": person.asks(ask).encode() for ask in ("log 500", "help nonsense")}
    if selftest:
        said["console: selftest"] = person.asks("selftest").encode()
    _, _, packed = received(person)
    said["support bundle"] = gzip.decompress(packed)
    return said | {path.name: path.read_bytes() for path in (site.folder / "state").iterdir()}


def written(site: Site) -> dict[str, bytes]:
    """What core and uplink leave for others to read or to send on."""
    kept = [*(site.folder / "run").glob("*.json"), *site.folder.glob("outbox.db*"), *site.folder.glob("spool/*/*")]
    assert {path.suffix for path in kept} >= {".json", ".db", ".jpg"}
    return {str(path.relative_to(site.folder)): path.read_bytes() for path in kept}


def test_a_day_of_work(site: Site) -> None:
    port = free_port()
    site.write({"uplink.metrics": f"port = {port}\n"})
    uplink_log, core_log = site.folder / "uplink.log", site.folder / "core.log"
    with site.broker, running(site, "uplink", uplink_log) as uplink, running(site, "core", core_log) as core:
        said = {"MQTT": b"\n".join(heard(site, enough=2))}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            said["metrics"] = answer.read()
        assert b"endoedge_core_up 1.0" in said["metrics"]
        said |= written(site) | asked(site, selftest=True)
        for name, process in (("core", core), ("uplink", uplink)):
            said[f"command line of {name}"] = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        checked = subprocess.run(command(site, "check"), capture_output=True, cwd=ROOT, timeout=ENDS_WITHIN_S)
        for process in (core, uplink):
            process.send_signal(signal.SIGABRT)  # as the watchdog does: the places of the threads go to the log
            process.wait(ENDS_WITHIN_S)
    local = {"check": checked.stdout + checked.stderr, "core's log": core_log.read_bytes()}
    local |= {"uplink's log": uplink_log.read_bytes()}
    assert b"Fatal Python error: Aborted" in local["core's log"]
    assert b"Fatal Python error: Aborted" in local["uplink's log"]
    assert found(said | local, site.secrets) == []
    assert found(said, {"the patient's name": PATIENT}) == []
    assert PATIENT.encode() in local["core's log"]  # so the search finds what is there


def test_a_crash_with_a_traceback(site: Site) -> None:
    log = site.folder / "uplink.log"
    with site.broker, running(site, "uplink", log, "-c", CRASH) as uplink:
        assert uplink.wait(ENDS_WITHIN_S)
    said = log.read_bytes()
    assert b"ZeroDivisionError" in said
    assert found({"uplink's log": said}, site.secrets | {"the patient's name": PATIENT}) == []


def test_a_recording_that_is_gone_has_no_name_in_the_safe_state(site: Site) -> None:
    site.clip.unlink()
    with running(site, "core", site.folder / "core.log") as core:
        assert core.wait(ENDS_WITHIN_S) == 1
    assert PATIENT in (site.folder / "core.log").read_text()  # who can mend it has to know which
    with running(site, "safe", site.folder / "safe.log"), running(site, "uplink", site.folder / "uplink.log"):
        with site.broker:
            wait_for(lambda: b'"safe":"the core' in _read(site, "uplink.json"), "the safe state is told", ENDS_WITHIN_S)
        said = written_in_run(site) | asked(site)
    assert b"cannot be read" in said["run/safe.json"]
    assert found(said, site.secrets | {"the patient's name": PATIENT}) == []


def written_in_run(site: Site) -> dict[str, bytes]:
    return {f"run/{path.name}": path.read_bytes() for path in (site.folder / "run").glob("*.json")}


USER, PASSWORD = SECRETS["an address's user"], SECRETS["a camera's password"]
KEY, TYPO = SECRETS["a camera's key in its address"], SECRETS["a mistaken key's"]
# What a person did wrong: the part that is started, tables of the configuration, and a word of what it then says.
MISTAKES = {
    "the password itself": ("uplink", {"uplink": f'password = "{TYPO}"'}, "unknown key uplink.password"),
    "no TOML": ("uplink", {"uplink": f'password = "{PASSWORD}'}, "is not valid TOML"),
    "an address for a name": (
        "core",
        {"capture": f'source = "rtsp://{USER}:{PASSWORD}@127.0.0.1/1"'},
        "source is no name",
    ),
    "a password in the address": (
        "core",
        {"capture": f'source = "rtsp"\nurl = "rtsp://{USER}:{PASSWORD}@127.0.0.1/1"'},
        "has a password in it",
    ),
    "no address": ("core", {"capture": f'source = "rtsp"\nurl = "rtsp://{USER}:{PASSWORD}@[::1"'}, "is no address"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_configuration(site: Site, mistake: str) -> None:
    part, changes, word = MISTAKES[mistake]
    site.write({name: f"{lines}\n" for name, lines in changes.items()})
    log = site.folder / "part.log"
    with running(site, part, log) as process:
        assert process.wait(ENDS_WITHIN_S)
    checked = subprocess.run(command(site, "check"), capture_output=True, cwd=ROOT, timeout=ENDS_WITHIN_S)
    assert word in log.read_text()
    said = {"log": log.read_bytes(), "check": checked.stdout + checked.stderr, **asked(site)}
    assert found(said, site.secrets) == []


@pytest.mark.parametrize("content", ["-----BEGIN PRIVATE KEY-----\nplanted-mqtt-hunter2\n", "planted-mqtt-hunter2"])
def test_a_key_that_is_none(site: Site, content: str) -> None:
    site.key.write_text(content)
    log = site.folder / "uplink.log"
    with running(site, "uplink", log) as uplink:
        assert uplink.wait(ENDS_WITHIN_S)
    assert "unencrypted PEM key" in log.read_text()
    assert found({"log": log.read_bytes(), **asked(site)}, site.secrets) == []


def test_a_broker_that_refuses_the_password(site: Site) -> None:
    (site.folder / "mqtt-password").write_text(f"{TYPO}\n")
    with site.broker, running(site, "uplink", site.folder / "uplink.log"):
        wait_for(lambda: b"uthor" in _read(site, "uplink.json"), "the uplink says that it is refused", ENDS_WITHIN_S)
        said = written_in_run(site) | asked(site)
    said["log"] = (site.folder / "uplink.log").read_bytes()
    assert found(said, site.secrets) == []


def test_a_camera_that_is_not_there(site: Site) -> None:
    (site.folder / "camera-password").write_text(PASSWORD)
    url = f"rtsp://{USER}@127.0.0.1:{free_port()}/1?key={KEY}"
    lines = f'source = "rtsp"\nurl = "{url}"\nuser = "viewer"\npassword_file = "camera-password"\n'
    site.write({"capture": lines})
    with running(site, "core", site.folder / "core.log"):
        wait_for(lambda: b"rtsp://127.0.0.1" in _read(site, "status.json"), "the core says why", ENDS_WITHIN_S)
        said = written_in_run(site) | asked(site)
    said["log"] = (site.folder / "core.log").read_bytes()
    said["outbox"] = (site.folder / "outbox.db").read_bytes()
    assert found(said, site.secrets) == []


def _read(site: Site, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return (site.folder / "run" / name).read_bytes()
    return b""
