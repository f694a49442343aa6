"""Rows of the self-test that need no engine and no broker: golden events, watchdog, locks, dates, and the page."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge import clock
from edge.cli.checks import line, phantom, times, watchdog
from edge.cli.checks.phantom import Golden, Told
from edge.cli.checks.trying import Advice, NotTriedError, tried
from edge.clock import ClockStatus, Wall
from edge.config import ConsoleConfig
from edge.console.report import Report, Row, page
from edge.errors import ConfigError, EdgeError, UplinkError
from edge.uplink import certificates
from edge.uplink.config import Tls, UplinkConfig
from tests.support.broker import Authority, missing_tools

GOLDEN = Golden(
    made_by="a test",
    pipeline_sha256="",
    model="m",
    model_version="1",
    clip="c.mkv",
    clip_sha256="",
    fps=8,
    frames_off=3,
    events=[
        Told(event="alert", about="polyp", frame=40),
        Told(event="alert_cleared", about="polyp", frame=60),
        Told(event="alert", about="polyp", frame=62),
    ],
)


# ------------------------------------------------------------------------------------------ golden events


def moved(frames: int) -> list[Told]:
    return [Told(event=one.event, about=one.about, frame=one.frame + frames) for one in GOLDEN.events]


@pytest.mark.parametrize("frames", [-3, 0, 3])
def test_a_processor_may_round(frames: int) -> None:
    assert phantom.differences(moved(frames), GOLDEN) == []


def test_what_is_late_is_missing_and_too_much() -> None:
    said = phantom.differences([*GOLDEN.events[:2], Told(event="alert", about="polyp", frame=66)], GOLDEN)
    assert said == ["not said: alert polyp at frame 62", "said, and should not be: alert polyp at frame 66"]


def test_one_alert_is_not_two() -> None:
    assert phantom.differences([*GOLDEN.events, GOLDEN.events[0]], GOLDEN) == [
        "said, and should not be: alert polyp at frame 40"
    ]


def test_a_pipeline_without_golden_events_is_not_tried(tmp_path: Path) -> None:
    with pytest.raises(NotTriedError, match="pipeline mine has no golden events"):
        phantom.load(tmp_path / "mine.toml")


def test_another_clip_is_not_the_clip(tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    golden = json.dumps({**dict.fromkeys(Golden.__struct_fields__, ""), "fps": 8, "frames_off": 3, "events": []})
    (folder / "mine.json").write_text(golden.replace('"clip": ""', '"clip": "c.mkv"'))
    with pytest.raises(ConfigError, match=r"c\.mkv: cannot be read"):
        phantom.load(tmp_path / "mine.toml")
    (folder / "c.mkv").write_bytes(b"another")
    with pytest.raises(ConfigError, match="is not the released clip"):
        phantom.load(tmp_path / "mine.toml")


# ----------------------------------------------------------------------------------------------- watchdog


def test_a_machine_without_a_watchdog(tmp_path: Path) -> None:
    with pytest.raises(NotTriedError, match="no /dev/watchdog0"):
        watchdog.watchdog(tmp_path)
    with pytest.raises(EdgeError, match="tegra_wdt"):
        watchdog.watchdog(tmp_path, jetson=True)


@pytest.mark.parametrize(
    ("state", "asked", "said"),
    [
        ("active", "30s", "i6300ESB timer: active, 30 s; systemd feeds it (RuntimeWatchdogSec 30s)"),
        ("active", "0", "i6300ESB timer: active, 30 s, fed by another program than systemd"),
    ],
)
def test_a_watchdog_that_is_fed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, asked: str, said: str
) -> None:
    monkeypatch.setattr(watchdog, "runtime_watchdog", lambda: asked)
    assert watchdog.watchdog(watched(tmp_path, state)) == said


def test_a_watchdog_that_nobody_feeds(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="is not used"):
        watchdog.watchdog(watched(tmp_path, "inactive"))


def watched(root: Path, state: str) -> Path:
    """A node that cannot even be opened: a directory."""
    facts = root / "sys/class/watchdog/watchdog0"
    facts.mkdir(parents=True)
    (root / "dev/watchdog0").mkdir(parents=True)
    for name, text in (("identity", "i6300ESB timer"), ("state", state), ("timeout", "30")):
        (facts / name).write_text(f"{text}\n")
    return root


# -------------------------------------------------------------------------------------------- serial line


def echoing(master: int, spoil: int = -1) -> threading.Thread:
    """A loopback plug: what comes out of the line goes in again, until the line is closed. Byte `spoil` is turned."""

    def plug() -> None:
        at = 0
        try:
            while data := bytearray(os.read(master, 512)):
                if at <= spoil < at + len(data):
                    data[spoil - at] ^= 0xFF
                at += len(data)
                os.write(master, data)
        except OSError:
            return

    thread = threading.Thread(target=plug, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(("spoil", "said"), [(-1, ""), (3000, "3000 of 4096 bytes .* byte 3000 came back wrong")])
def test_a_loopback_plug(spoil: int, said: str) -> None:
    master, slave = os.openpty()
    name = os.ttyname(slave)
    plug = echoing(master, spoil)
    try:
        if said:
            with pytest.raises(EdgeError, match=said):
                line.loopback(name, 115_200)
        else:
            assert "4096 bytes out and back" in line.loopback(name, 115_200)
    finally:
        os.close(slave)
        plug.join(5)
        os.close(master)


def test_no_plug_no_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "SPARE_S", 0.0)
    master, slave = os.openpty()
    try:
        with pytest.raises(EdgeError, match=r"0 of 4096 bytes came back .* no more came"):
            line.loopback(os.ttyname(slave), 4_000_000)
    finally:
        os.close(slave)
        os.close(master)


def test_a_line_that_somebody_has_is_left_alone() -> None:
    master, slave = os.openpty()
    name = os.ttyname(slave)
    try:
        assert line.holder(Path(name)) == ""
        fcntl.flock(slave, fcntl.LOCK_EX)  # as pyserial's `exclusive` does
        assert f"process {os.getpid()} (" in line.holder(Path(name))
        with pytest.raises(EdgeError, match="held by process"):
            line.loopback(name, 115_200)
        with pytest.raises(NotTriedError, match="held by process"):
            line.console_port(ConsoleConfig(port=name))
        with pytest.raises(NotTriedError, match="is not there"):
            line.console_port(ConsoleConfig(port="/dev/nowhere"))
    finally:
        os.close(slave)
        os.close(master)


# ------------------------------------------------------------------------------------ clock, certificates


def test_a_clock_of_1970_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 100.0)
    with pytest.raises(EdgeError, match="1970-01-01 00:01:40 UTC: is wrong"):
        times.wall_clock(None)


@pytest.mark.parametrize(
    ("kernel", "told", "remark"),
    [(True, None, False), (False, None, True), (False, False, True), (False, True, False)],
)
def test_an_unsynchronised_clock_is_a_remark(
    monkeypatch: pytest.MonkeyPatch, kernel: bool, told: bool | None, remark: bool
) -> None:
    """The running core is believed where the kernel may not be asked."""
    monkeypatch.setattr(clock, "read", lambda: Wall(time.time(), kernel))
    said = times.wall_clock(None if told is None else ClockStatus(trusted=told, source="ptp"))
    assert isinstance(said, Advice) == remark


@pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
def test_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good, other, expired = (authority.issue("box", expired=late) for late in (False, False, True))

    def dates(cert: Path, key: Path) -> str | Advice:
        return times.certificate_dates(UplinkConfig(tls=Tls(ca=str(authority.ca), cert=str(cert), key=str(key))))

    told = dates(good.cert, good.key)
    assert isinstance(told, Advice)  # they hold for two days
    assert told.found.count(" 1 days") == 2
    assert str(good.cert) in told.mend
    with pytest.raises(UplinkError, match=rf"{expired.cert}: (expired|is not valid)"):
        times.certificate_dates(
            UplinkConfig(tls=Tls(ca=str(authority.ca), cert=str(expired.cert), key=str(expired.key)))
        )
    with pytest.raises(UplinkError, match="is not the key of"):
        dates(good.cert, other.key)
    with pytest.raises(NotTriedError):
        times.certificate_dates(UplinkConfig(host="localhost"))


@pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
def test_dates_are_those_that_openssl_reads(tmp_path: Path) -> None:
    """Of a year with two digits, and of one with four (from 2050 on)."""
    for days in (2, 20_000):
        cert = tmp_path / f"{days}.pem"
        subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {tmp_path}/key"
            f" -out {cert} -subj /CN=x -days {days}".split(),
            check=True,
            capture_output=True,
        )
        dates = subprocess.run(
            ["openssl", "x509", "-noout", "-dates", "-in", cert], check=True, capture_output=True, text=True
        )
        wanted = [
            datetime.strptime(said.partition("=")[2], "%b %d %H:%M:%S %Y GMT").replace(tzinfo=timezone.utc)
            for said in dates.stdout.splitlines()
        ]
        (found,) = certificates.validities(cert)
        assert list(found) == wanted
        assert found.not_after - found.not_before == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(text)
    with pytest.raises(UplinkError, match=r"ca\.pem: holds"):
        certificates.validities(file)


# ------------------------------------------------------------------------------------------------ the page


def test_three_values() -> None:
    def broken() -> str:
        raise EdgeError("broken")

    def absent() -> str:
        raise NotTriedError("absent")

    assert tried("a", lambda: "fine", "mend") == Row("a", True, "fine")
    assert tried("a", lambda: Advice("fine", "soon"), "mend") == Row("a", True, "fine", "soon")
    assert tried("a", broken, "mend") == Row("a", False, "broken", "mend")
    assert tried("a", absent, "mend") == Row("a", None, "not tried: absent")


def test_the_page_fits_a_terminal() -> None:
    rows = [Row("disk", False, "word " * 40, "mend " * 20), Row("line", None, "not tried: ü"), Row("x", True, "y", "z")]
    lines = list(page(Report(ok=False, checks=rows, exit=1)))
    assert all(len(said) <= 80 and said.isascii() for said in lines)
    assert lines[0].startswith("NO  disk ")
    assert any("to mend it: mend" in said for said in lines)
    assert lines[-2].strip() == "in time: z"
    assert lines[-1] == "1 of 2 failed, 1 not tried"
    assert list(page(Report(ok=True, checks=rows[1:], exit=0)))[-1] == "all 1 passed, 1 not tried"
