"""The support bundle: what is in it, what is never in it, and how it is sent."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.console import redact
from edge.console.job import Take
from edge.console.ymodem import ACK, CAN, EOT, FAREWELL_S, NAK, START_S, Sender
from edge.errors import ConsoleError
from tests.support import updating
from tests.support.console import DEVICE, HandClock, Person, make_keys, script
from tests.support.ymodem import received

ON_A_BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SECRETS = {
    "in the file": "hunter2-broker",
    "in a file named by it": "s3cret-of-a-file",
    "in an address": "camera-pw-9",
    "in a table": "deep-down-77",
    "in the journal": "journal-pw-5",
}
PATIENT = "DOE^JANE"
KEY_PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n"
    "-----END PRIVATE KEY-----"
)

SITE = f"""
device = "{DEVICE}"
pipeline = "colonoscopy"
[capture]
source = "rtsp"
url = "rtsp://viewer:{SECRETS["in an address"]}@192.0.2.7/main"
password = "{SECRETS["in the file"]}"
[uplink]
host = "broker"
username = "{DEVICE}"
password_file = "pw.txt"
[uplink.tls]
ca = "ca.pem"
key = "box.key"
[future.credentials]
inner = {{ value = "{SECRETS["in a table"]}" }}
[record]
key_frames = true
"""


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """A box full of things that may not leave it."""
    (tmp_path / "endoedge.toml").write_text(SITE)
    (tmp_path / "pw.txt").write_text(SECRETS["in a file named by it"] + "\n")
    (tmp_path / "box.key").write_text(KEY_PEM + "\n")
    (tmp_path / "run").mkdir()
    status = {"state": "live", "fault": f"login with {SECRETS['in the file']} refused", "classes": {"mayo": "3"}}
    (tmp_path / "run" / "status.json").write_text(json.dumps(status | {"landmarks": ["caecum"], "view": "good"}))
    reports = {"server": "https://r.example", "aside": {"01XX-1": "answers 400: it names a person"}, "sent": 3}
    updating.write(tmp_path / "run", updating.said(1, trouble="the metadata has expired", refused=("1.4.0",)))
    (tmp_path / "run" / "uplink.json").write_text(json.dumps({"broker": "b:1", "reports": reports}))
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "record.json").write_text(json.dumps({"procedure": "01XX-1"}))
    (tmp_path / "spool" / f"{PATIENT}.jpg").write_bytes(b"\xff\xd8\xff" + PATIENT.encode())
    messages = [
        (6, "ready"),
        (4, f"rtsp://viewer:{SECRETS['in an address']}@192.0.2.7/main gave nothing"),
        (3, f"broker: password={SECRETS['in the journal']} refused"),
        (6, f"debug {SECRETS['in a file named by it']} {SECRETS['in a table']} {KEY_PEM}"),
        (6, "login EET1.abc.def"),
    ]
    records = [{"MESSAGE": text, "PRIORITY": str(priority), "_PID": "7"} for priority, text in messages]
    (tmp_path / "journal").write_text("\n".join(json.dumps(record) for record in records))
    return Person(tmp_path, journalctl=script(tmp_path / "journalctl", f"cat {tmp_path}/journal"))


@pytest.mark.parametrize("lose", [0, 3])
def test_the_bundle_arrives_whole(person: Person, lose: int) -> None:
    person.logs_in(make_keys(person.folder))
    said, name, content = received(person, lose)
    assert re.search(rf"bytes +{len(content)}\b", said)
    assert hashlib.sha256(content).hexdigest() in said
    assert name in said
    assert person.audit()[-1]["command"] == "support"
    assert person.audit()[-1]["outcome"] == "done"


def test_it_holds_what_helps_and_no_secret_no_picture_no_patient(person: Person) -> None:
    person.logs_in(make_keys(person.folder))
    _, _, content = received(person)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = {Path(one.name).name: tar.extractfile(one).read() for one in tar.getmembers()}  # type: ignore[union-attr]
    assert set(members) == {
        "versions.json",
        "configuration.json",
        "status.json",
        "faults.txt",
        "fault-history.txt",
        "journal.txt",
        "audit.log",
        "SHA256SUMS",
    }
    everything = b"".join(members.values()).decode()
    for where, secret in SECRETS.items():
        assert secret not in everything, where
    for line in KEY_PEM.splitlines():
        assert line not in everything
    for word in (PATIENT, "caecum", "mayo", "EET1.", "01XX-1", "names a person"):
        assert word not in everything
    assert json.loads(members["status.json"])["uplink"]["reports"]["aside"] == 1
    configuration = json.loads(members["configuration.json"])
    assert configuration["capture"]["url"] == "rtsp://(removed)@192.0.2.7/main"
    assert configuration["capture"]["password"] == configuration["uplink"]["tls"]["key"] == "(removed)"
    assert configuration["uplink"]["host"] == "broker"
    assert configuration["record"] == {"key_frames": True}
    assert json.loads(members["status.json"])["update"]["trouble"] == "the metadata has expired"
    assert json.loads(members["status.json"])["core"]["state"] == "live"
    assert "refused" in members["fault-history.txt"].decode()
    assert "ready" not in members["fault-history.txt"].decode()
    for line in members["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(members[name]).hexdigest() == digest


def test_a_configuration_that_is_no_toml_is_not_packed(person: Person) -> None:
    (person.folder / "endoedge.toml").write_text(SITE.replace('device = "', "device = "))
    person.logs_in(make_keys(person.folder))
    _, _, content = received(person)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        everything = b"".join(tar.extractfile(one).read() for one in tar.getmembers())  # type: ignore[union-attr]
    assert b"not included: " in everything
    # What stands in a table called "credentials" under a harmless name cannot be known without reading TOML.
    assert [where for where, secret in SECRETS.items() if secret.encode() in everything] == ["in a table"]


@ON_A_BUSY_MACHINE
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=4, max_size=30), st.text(max_size=30))
def test_a_known_secret_never_survives(secret: str, around: str) -> None:
    assert secret not in redact.scrubbed(around + secret + around, {secret}).replace(redact.REMOVED, "\0")


@pytest.mark.parametrize(
    "text",
    [
        "password: abcd1234",
        'api_key="abcd1234"',
        "MQTT_PASSWD=abcd1234 x",
        "Authorization: Bearer abcd1234",
        "mqtts://user:abcd1234@host/",
        "{'token': 'abcd1234'}",
    ],
)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    assert "abcd1234" not in redact.scrubbed(text, set())


def steps(sender_says: list[bytes], answers: list[bytes], clock: HandClock | None = None) -> str:
    """Runs a sender against a receiver that says `answers`, then nothing. Returns why it failed."""
    clock = clock or HandClock()
    job, sent = Sender(clock).send("x", b"y" * 3000), None
    while True:
        try:
            step = job.send(sent)
        except StopIteration:
            return ""
        except ConsoleError as exc:
            return str(exc)
        sent = None
        if isinstance(step, Take):
            sent = answers.pop(0) if answers else b""
            clock.pass_s(0 if sent else step.seconds)
        elif isinstance(step, bytes):
            sender_says.append(step)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([], "nobody has started a receiver"),
        ([b"noise", b"\x03"], "cancelled"),
        ([b"C", bytes([CAN, CAN])], "cancelled"),
        ([b"C", bytes([ACK])], "does not want the file"),
        ([b"C", bytes([ACK]) + b"C", *[bytes([NAK])] * 20], "refused 10 times"),
        ([b"C", bytes([ACK]) + b"C"], "refused 10 times"),
    ],
)
def test_a_receiver_that_goes_wrong_ends_it_and_is_told_to_stop(answers: list[bytes], why: str) -> None:
    said: list[bytes] = []
    assert why in steps(said, answers)
    assert said[-1].startswith(bytes([CAN, CAN]))
    assert START_S <= 60


@pytest.mark.parametrize(
    ("answers", "blocks", "waits_s"),
    [
        ([bytes([ACK])], 1, 0),
        ([], 1, FAREWELL_S),  # it went without a word
        ([b"\r"], 1, 0),  # so did this one, and somebody wants the prompt back
        ([b"C", bytes([ACK])], 2, 0),  # lrzsz lost the block, and asks again
        ([bytes([NAK]), b"C", b"noise", bytes([ACK])], 3, 0),
    ],
)
def test_no_further_file_is_said_until_it_is_understood(answers: list[bytes], blocks: int, waits_s: float) -> None:
    said: list[bytes] = []
    clock = HandClock()
    began_ns = clock.now_ns()
    ack = bytes([ACK])
    assert steps(said, [b"C", ack + b"C", ack, ack, ack, ack + b"C", *answers], clock) == ""
    after = said[said.index(bytes([EOT])) + 1 :]
    assert [block[:3] for block in after] == [b"\x01\0\xff"] * blocks
    assert (clock.now_ns() - began_ns) / 1e9 == waits_s
