"""What the console answers, to whom, and what it writes down. No line yet: keys go straight into the shell."""

from __future__ import annotations

import inspect
import json
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge.console import box as box_module
from edge.console.commands import COMMANDS, updates
from edge.console.editor import PROMPT
from edge.console.shell import CALM_NS, OUT_MOST
from edge.console.text import COLUMNS
from edge.outbox import Outbox
from edge.status import CoreStatus, SafeStatus
from edge.updating import Answer, Obstacle, Said, Trial, UpdateStatus
from edge.uplink.wire import UplinkStatus
from tests.support.console import NOW, HandClock, Person, Systemd, make_keys, script, signed

OPEN = [name for name, command in COMMANDS.items() if command.needs([]) is None]
CLOSED = [name for name, command in COMMANDS.items() if command.needs([]) is not None]
CLOSED += [f"update {word}" for word in updates.RIGHTS]

CORE = {
    "version": "0.1.0",
    "state": "no_signal",
    "detail": "no cable",
    "fps": 24.5,
    "landmarks": ["caecum"],
    "updated_ns": 999_000_000_000,
    "fault": "outbox /x: the disk is full",
    "model": {"name": "polyp", "version": "3", "precision": "int8", "sha256": "ab" * 32, "backend": "onnx"},
    "board": {"kind": "jetson", "zones": {"tj": {"temperature_c": 71.0, "limit_c": 95.0}}, "throttled": ["cpu"]},
    "stages": {"infer": {"p50_ms": 7.0, "p99_ms": 9.0}},
    "added_by_a_later_version": {"x": 1},
}
UPLINK = {
    "broker": "broker:8883",
    "pid": 7,
    "updated_ns": 999_000_000_000,
    "connected": False,
    "last_error": "refused",
    "waiting": {"e/b/alert": "no"},
}


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with Systemd(tmp_path, {"endoedge-core.service": "success exited 0", "reboot.target": ""}) as running:
        yield running


@pytest.fixture
def person(tmp_path: Path, systemd: Systemd) -> Person:
    return Person(
        tmp_path,
        orders=systemd.orders,
        ip=script(tmp_path / "ip", "exec cat <<'E'\n" + '[{"ifname":"eth0","operstate":"UP","addr_info":[]}]\nE'),
        journalctl=script(tmp_path / "journalctl", 'echo "-- no entries --"'),
    )


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_keys(tmp_path)


def runs(person: Person) -> None:
    """As if core and uplink ran."""
    (person.folder / "run" / "status.json").write_text(json.dumps(CORE))
    (person.folder / "run" / "uplink.json").write_text(json.dumps(UPLINK))


def test_the_views_are_of_the_real_status_files() -> None:
    """A field that was renamed there would be shown as its default here."""
    pairs = [
        (box_module.CoreView, CoreStatus),
        (box_module.UplinkView, UplinkStatus),
        (box_module.SafeView, SafeStatus),
        (box_module.UpdateView, UpdateStatus),
        (box_module.OfferView, Said),
        (box_module.ObstacleView, Obstacle),
        (box_module.TrialView, Trial),
        (box_module.AnswerView, Answer),
    ]
    pairs += [
        (getattr(box_module, f"{name}View"), inspect.get_annotations(CoreStatus, eval_str=True)[field])
        for name, field in (("Model", "model"), ("Source", "source"))
    ]
    for view, written in pairs:
        assert set(view.__struct_fields__) <= set(written.__struct_fields__), view


def test_the_safe_state_is_told_and_ends(person: Person) -> None:
    """The core's own status is deleted then."""
    said = {"reason": "it ended 5 times", "since_ns": 0, "until_ns": 0, "updated_ns": 999_000_000_000}
    (person.folder / "run" / "safe.json").write_text(json.dumps(said))
    assert "SAFE STATE, not started for now: it ended 5 times" in person.asks("status")
    assert "safe state: it ended 5 times" in person.asks("faults")
    person.clock.pass_s(11)
    assert "SAFE STATE" not in person.asks("status")


@pytest.mark.parametrize("name", OPEN)
def test_everybody_may_ask_with_nothing_running(person: Person, name: str) -> None:
    """The core is dead, nothing was ever written: each answers all the same."""
    said = person.asks(name) if name != "watch" else person.types("watch\r") + person.types("q")
    assert said.strip()
    assert max(map(len, said.splitlines())) <= COLUMNS
    assert "Error, see the journal" not in said
    assert person.audit()[-1]["command"] == name


@pytest.mark.parametrize("name", CLOSED)
def test_nobody_may_do_the_rest_without_a_login(person: Person, name: str) -> None:
    assert person.asks(name) == "refused: log in first: `login`\r\n"
    assert not list((person.folder / "asked").iterdir())
    assert not list((person.folder / "ended").iterdir())
    assert person.audit()[-1]["outcome"].startswith("refused")


def test_status_says_what_is(person: Person) -> None:
    runs(person)
    Outbox.open(person.folder / "outbox.db", "theatre-3", 1 << 20).close()
    said = person.asks("status")
    for part in ("no_signal: no cable", "24.5 frames/s", "polyp 3 int8 on onnx", "broker:8883 NOT connected: refused"):
        assert part in said
    for part in ("tj 71 C, 24 below its limit; throttled: cpu", "outbox        0 messages", "(synchronised by chrony)"):
        assert part in said
    assert "faults        5" in said
    assert "faults now: 5" in person.asks("faults")


@pytest.mark.parametrize("jump_s", [0, -3e8, 3e8])
def test_who_fell_silent_is_stale_however_the_clock_is_set(person: Person, jump_s: float) -> None:
    runs(person)
    person.clock.set_wall(NOW + jump_s, trusted=False)
    assert "STALE" not in person.asks("status")
    person.clock.pass_s(3600)
    assert person.asks("status").count("STALE, has said nothing for 1 h 00 min") == 2
    assert "has said nothing for" in person.asks("faults")


def test_the_outbox_is_only_looked_at(person: Person) -> None:
    Outbox.open(person.folder / "outbox.db", "theatre-3", 1 << 20).close()
    with sqlite3.connect(person.folder / "outbox.db") as db:
        db.execute("INSERT INTO outbox VALUES (1, 'alert', 'x', '2026-11-22T10:00:00Z', 'secret payload')")
    db.close()
    said = person.asks("outbox")
    assert "1 messages, oldest of 2026-11-22T10:00:00Z" in said
    assert "payload" not in said


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": 5}', "\0" * 100])
def test_a_status_file_that_is_none_is_said(person: Person, content: str) -> None:
    (person.folder / "run" / "status.json").write_text(content)
    assert "status.json" in person.asks("status").replace("\r\n" + " " * 14, "")


def test_watch_goes_on_until_a_key(person: Person) -> None:
    runs(person)
    person.shell.feed(b"watch\r")
    said = b""
    for _ in range(5):
        person.shell.step()
        said += person.sees()
        person.clock.pass_s(1)
    assert said.count(b"no_signal STALE" if b"STALE" in said else b"no_signal") == 5
    assert b"infer 7.0 ms" in said
    assert person.types("x").endswith(PROMPT.decode())


def test_the_second_half_of_crlf_is_no_key(person: Person) -> None:
    person.shell.feed(b"watch\r")
    person.shell.step()
    person.sees()
    person.shell.feed(b"\n")
    person.shell.step()
    assert person.sees() == b""


def test_lines_typed_ahead_are_kept(person: Person) -> None:
    said = person.types("network\rtime\rfoo\r")
    assert said.index("eth0") < said.index("wall clock") < said.index("foo: no such command")


def test_control_c_ends_a_command_and_its_child(person: Person, key: Path) -> None:
    slow = Person(person.folder, journalctl=script(person.folder / "slow", "echo $$ > $0.pid; sleep 600"))
    slow.logs_in(key)
    slow.shell.feed(b"log\r")
    deadline = time.monotonic() + 20
    while not (person.folder / "slow.pid").exists() or not (person.folder / "slow.pid").read_text():
        slow.shell.step()
        assert time.monotonic() < deadline
    child = int((person.folder / "slow.pid").read_text())
    assert "interrupted" in slow.types("\x03")
    assert not Path(f"/proc/{child}/status").exists() or "Z" in Path(f"/proc/{child}/status").read_text()
    assert slow.audit()[-1]["outcome"] == "interrupted"


def test_a_login_and_what_it_opens(person: Person, key: Path, systemd: Systemd) -> None:
    assert "welcome, A. Engineer: diagnose, restart" in person.logs_in(key)
    assert person.asks("log 5").endswith("0 lines\r\n")
    assert "core was restarted" in person.asks("reset core")
    assert "type `reboot now`" in person.asks("reboot")
    assert "restarts now" in person.asks("reboot now")
    assert systemd.taken == ["endoedge-core.service", "reboot.target"]
    assert "good-bye, A. Engineer" in person.asks("logout")
    assert "refused" in person.asks("reboot now")
    who = [(entry["who"], entry["command"], entry["outcome"]) for entry in person.audit()]
    assert ("A. Engineer (service.pem)", "reboot now", "begun") in who
    assert ("A. Engineer (service.pem)", "reboot now", "done") in who


def test_no_token_is_ever_in_the_log_or_the_output(person: Person, key: Path) -> None:
    person.logs_in(key)
    assert b"EET1" not in b"".join(path.read_bytes() for path in (person.folder / "state").iterdir())


def test_hanging_up_ends_the_login(person: Person, key: Path) -> None:
    person.logs_in(key)
    person.shell.hang_up("the line is gone")
    assert "refused" in person.asks("log")
    assert any(entry["outcome"] == "login ended: the line is gone" for entry in person.audit())


def test_without_an_audit_log_status_works_and_nothing_else(person: Person, key: Path) -> None:
    """The folder of the log has become a file: whatever is tried there fails, for root as well."""
    person.logs_in(key)
    person.desk.audit.close()
    state = person.folder / "state"
    state.rename(person.folder / "gone")
    state.write_text("")
    said = person.asks("reboot now")
    assert "refused: audit log" in said
    assert "exists" in said
    assert not list((person.folder / "asked").iterdir())
    assert not list((person.folder / "ended").iterdir())
    assert "device" in person.asks("status")
    assert "log in first" in person.asks("log")  # a login lasts only as long as it can be recorded
    state.unlink()
    (person.folder / "gone").rename(state)
    person.logs_in(key)
    assert "restarts now" in person.asks("reboot now")


def test_log_shows_the_journal_as_plain_text(tmp_path: Path, key: Path) -> None:
    records = [
        {
            "__MONOTONIC_TIMESTAMP": "12345678",
            "_SYSTEMD_UNIT": "endoedge-core.service",
            "PRIORITY": "4",
            "MESSAGE": "a",
        },
        {"MESSAGE": list(b"\x1b[2Jbytes"), "PRIORITY": "x"},
        {"MESSAGE": "long " * 60},
    ]
    text = "\n".join(json.dumps(record) for record in records)
    person = Person(tmp_path, journalctl=script(tmp_path / "j", f'echo "$@" > $0.asked; cat <<"E"\n{text}\nE'))
    person.logs_in(key)
    said = person.asks("log 3")
    assert "    12.346 core warn: a" in said
    assert "?: ?[2Jbytes" in said
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= COLUMNS
    asked = (tmp_path / "j.asked").read_text()
    assert "-o json" in asked
    assert asked.endswith("-n 3\n")


def test_faults_that_are_over(person: Person) -> None:
    over = {"where": "signal", "what": "no_signal: no cable", "since_ns": 900 * 10**9, "until_ns": 940 * 10**9}
    lasts = {"where": "events", "what": "the disk is full", "since_ns": 950 * 10**9}
    sudden = {"where": "core", "what": "was started again: it hung", "since_ns": 100 * 10**9, "until_ns": 100 * 10**9}
    (person.folder / "run/status.json").write_text(json.dumps(CORE | {"troubles": [over, lasts, sudden]}))
    down = {"where": "broker", "what": "refused", "since_ns": 990 * 10**9, "until_ns": 995 * 10**9, "later": 1}
    (person.folder / "run/uplink.json").write_text(json.dumps(UPLINK | {"troubles": [down]}))
    lines = person.asks("faults").splitlines()
    assert lines[-4:] == [
        "core          15 min 00 s ago: was started again: it hung",
        "signal        1 min 00 s ago, for 0 min 40 s: no_signal: no cable",
        "broker        0 min 05 s ago, for 0 min 05 s: refused",
        "over, since the machine started: 3; the rest is in the journal: `log`",
    ]


@pytest.mark.parametrize("words", ["0", "501", "-1", "5;reboot", "$(reboot)", "5 6", "x"])
def test_log_takes_a_number_and_nothing_else(person: Person, key: Path, words: str) -> None:
    person.logs_in(key)
    assert person.asks(f"log {words}").startswith("failed: expected a number of lines")


def test_a_program_that_is_not_there_or_says_too_much(tmp_path: Path, key: Path) -> None:
    person = Person(tmp_path, journalctl=("/nonexistent/journalctl",), ip=script(tmp_path / "ip", "yes"))
    person.logs_in(key)
    assert person.asks("log").startswith("failed: /nonexistent/journalctl: cannot be started")
    assert "failed: ip -j addr: not understood" in person.asks("network")


def test_a_noisy_line_is_left_alone_and_a_calm_second_brings_the_prompt_back(person: Person) -> None:
    said = b""
    for _ in range(2000):
        person.shell.feed(b"[ 12.3] foreign kernel message\r\n")
        person.shell.step()
        said += person.sees()
    assert said.count(b"\n") < 60
    person.shell.feed(b"time\r")
    person.shell.step()
    assert person.sees() == b""  # a command in the middle of noise is noise
    person.clock.pass_s(CALM_NS / 1e9)
    assert person.types("\r").endswith(PROMPT.decode())
    assert "wall clock" in person.asks("time")
    assert person.audit()[-1]["unlisted"] == 2001


def test_a_spoilt_line_is_not_carried_out_for_anybody(person: Person, key: Path) -> None:
    person.logs_in(key)
    assert "noise on the line: nothing was done" in person.types(b"reboot\xff now\r")
    assert not list((person.folder / "asked").iterdir())
    assert not list((person.folder / "ended").iterdir())


def test_an_echo_at_the_other_end_dies_down(person: Person) -> None:
    """One key on a line whose other end sends back all that it gets."""
    person.shell.feed(b"a")
    for _ in range(3000):
        person.shell.step()
        person.shell.feed(person.sees())
    assert person.sees() == b""


def test_two_consoles_on_one_line_fall_silent(tmp_path: Path) -> None:
    """Each hears what the other says, as on a line with an echo."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = Person(tmp_path / "one"), Person(tmp_path / "two")
    one.shell.feed(b"hello\r")
    for _ in range(5000):
        for here, there in ((one, two), (two, one)):
            here.shell.step()
            there.shell.feed(here.sees())
    assert (one.sees(), two.sees()) == (b"", b"")


def test_a_reader_that_does_not_read_bounds_the_output(person: Person) -> None:
    for _ in range(3000):
        person.shell.feed(b"help\r")
        person.shell.step()
    assert len(person.shell.out) < OUT_MOST + 4096


def test_a_machine_is_answered_in_between(person: Person) -> None:
    from edge.console import cbor, smp

    body = cbor.dumps({"d": "hi"})
    request = smp.lines(bytes([2, 0, 0, len(body), 0, 0, 1, 0]) + body)
    said = person.types(b"sta" + request + b"tus\r")
    assert "device        theatre-3" in said
    assert re.search(r"^sta\x06\x09\S+\n", said)


def test_a_command_that_is_broken_does_not_take_the_console_with_it(person: Person) -> None:
    def broken(desk: object, words: list[str]):  # type: ignore[no-untyped-def]
        yield "so far"
        raise ZeroDivisionError

    person.shell._commands = {**COMMANDS, "broken": COMMANDS["time"]._replace(name="broken", run=broken)}
    assert person.asks("broken") == "so far\r\nfailed: ZeroDivisionError, see the journal\r\n"
    assert "wall clock" in person.asks("time")


def test_clocks_that_are_not_believed_are_said_and_recorded(tmp_path: Path) -> None:
    person = Person(tmp_path, HandClock(wall_s=30.0, trusted=False))
    assert "1970-01-01T00:00:30.000Z (NOT synchronised" in person.asks("time")
    assert person.audit()[-1]["trusted"] is False


def test_a_token_for_the_wrong_device_is_told(person: Person, key: Path) -> None:
    found = re.search(r"nonce +(\w+)", person.asks("login"))
    assert found
    said = person.asks("login " + signed(key, found[1], device="theatre-4"))
    assert "failed: it is for device theatre-4" in said
    assert msgspec.json.encode(person.audit()).count(b"EET1") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may only read")
def test_an_outbox_that_everybody_has_closed_is_read_by_who_may_only_read() -> None:
    """Core and uplink are dead, so there is no WAL, and the console's user may not make one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        Outbox.open(folder / "outbox.db", "theatre-3", 1 << 20).close()
        (folder / "outbox.db").chmod(0o644)
        box = Person(folder).desk.box
        os.seteuid(65534)
        try:
            assert box.queue() == (0, "")
        finally:
            os.seteuid(0)


def test_procedure_says_that_a_record_is_kept_and_not_what_is_in_it(person: Person) -> None:
    reports = {
        "server": "https://r.example",
        "sent": 3,
        "waiting": 2,
        "aside": {"01XX-1": "answers 400"},
        "fault": "away",
    }
    (person.folder / "run/status.json").write_text(json.dumps(CORE | {"spool": {"procedures": 5, "waiting": 1}}))
    (person.folder / "run/uplink.json").write_text(json.dumps(UPLINK | {"reports": reports}))
    said = person.asks("procedure")
    assert "kept; 5 on this box, 1 not written yet" in said
    assert "3 sent since start, 2 wait, 1 put aside" in said.replace("\r\n" + " " * 14, " ")
    assert "01XX-1" not in said
    assert "https://r.example: away" in person.asks("faults").replace("\r\n" + " " * 14, "")
    (person.folder / "run/status.json").write_text(json.dumps(CORE))
    (person.folder / "run/uplink.json").write_text(json.dumps(UPLINK))
    said = person.asks("procedure")
    assert "not kept" in said
    assert "no report server" in said
