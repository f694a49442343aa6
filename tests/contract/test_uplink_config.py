"""What is wrong with `[uplink]` is said before anything starts; what is wrong with the broker, in one line."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.errors import UplinkError
from edge.uplink import credentials, service
from edge.uplink.backoff import Backoff
from edge.uplink.config import UplinkConfig
from edge.uplink.faults import Broker
from tests.support.broker import Authority, missing_tools

needs_openssl = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())


def config(**fields: Any) -> UplinkConfig:
    return msgspec.convert(fields, UplinkConfig)


@pytest.mark.parametrize(
    "fields",
    [
        {"port": 0},
        {"port": 65536},
        {"host": "two words"},
        {"host": ""},
        {"keepalive_s": 0},
        {"window": 0},
        {"confirm": "nobody"},
        {"topic_prefix": "endoedge/#"},
        {"topic_prefix": "/endoedge"},
        {"client_id": "a/b"},
        {"telemetry_s": 0.1},
        {"retry_max_s": 0},
        {"tls": {}},
        {"prot": 1883},
    ],
)
def test_not_allowed(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        config(**fields)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"host": "broker.example"}, r"uplink.host 'broker.example' is another machine: give \[uplink.tls\]"),
        ({"retry_min_s": 9, "retry_max_s": 1}, r"uplink.retry_min_s is 9.0, above retry_max_s 1.0"),
        ({"username": "u", "password_file": "/nowhere/p"}, r"uplink.password_file /nowhere/p: cannot be read"),
        ({"password_file": "/dev/null"}, r"uplink.password_file needs uplink.username"),
        ({"username": "u", "password_file": "/dev/null"}, r"uplink.password_file /dev/null: is empty"),
        ({"tls": {"ca": "/nowhere/ca.pem"}}, r"uplink.tls.ca '/nowhere/ca.pem': cannot be read: No such file"),
        ({"tls": {"ca": ""}}, r"uplink.tls.ca '': cannot be read"),
        ({"tls": {"ca": "/dev/null"}}, r"uplink.tls.ca /dev/null: holds no PEM certificate"),
        ({"tls": {"ca": "/dev/null", "cert": "c.pem"}}, r"uplink.tls.cert and uplink.tls.key belong together"),
    ],
)
def test_unusable_files(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UplinkError, match=complaint):
        credentials.load(config(**fields))


def test_plaintext_to_another_machine_only_when_asked_for() -> None:
    assert credentials.load(config(host="broker.example", allow_plaintext=True)).tls is None
    assert credentials.load(config(host="127.0.0.1")).tls is None


@needs_openssl
def test_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, other = authority.issue("ours"), authority.issue("other")
    tls = {"ca": str(authority.ca), "cert": str(ours.cert), "key": str(ours.key)}
    context = credentials.load(config(tls=tls)).tls
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    with pytest.raises(UplinkError, match=rf"uplink.tls.key {other.key}: is not the key of cert {ours.cert}"):
        credentials.load(config(tls={**tls, "key": str(other.key)}))
    with pytest.raises(UplinkError, match=r"not a PEM certificate with an unencrypted PEM key"):
        credentials.load(config(tls={**tls, "cert": str(ours.key)}))
    with pytest.raises(UplinkError, match=r"uplink.tls.cert '/nowhere': cannot be read"):
        credentials.load(config(tls={**tls, "cert": "/nowhere"}))


def run(tmp_path: Path, **changes: Any) -> None:
    """`service.run` with a stop that is set already: only what it checks at start can raise."""
    stop = threading.Event()
    stop.set()
    arguments = {
        "config": config(host="127.0.0.1", port=1),
        "device": "box-1",
        "outbox_path": tmp_path / "outbox.db",
        "status_path": tmp_path / "uplink.json",
        "notify_socket": tmp_path / "bell",
        "stop": stop,
    }
    service.run(**{**arguments, **changes})


def test_start_and_stop_leave_nothing_behind(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outbox.db.uplink.lock"]


@pytest.mark.parametrize("device", ["", "a/b", "a b", "+", "#", "x" * 65, "ü"])
def test_device_that_cannot_be_a_topic(tmp_path: Path, device: str) -> None:
    with pytest.raises(UplinkError, match=r"device .*: must be 1 to 64 of"):
        run(tmp_path, device=device)


def test_socket_and_lock_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(UplinkError, match=r"notify socket .*nowhere/bell: cannot be made: No such file"):
        run(tmp_path, notify_socket=tmp_path / "nowhere" / "bell")
    with pytest.raises(UplinkError, match=r"notify socket .*: cannot be made: AF_UNIX path too long"):
        run(tmp_path, notify_socket=tmp_path / ("b" * 120))
    with pytest.raises(UplinkError, match=r"lock .*nowhere/outbox.db.uplink.lock: cannot be opened"):
        run(tmp_path, outbox_path=tmp_path / "nowhere" / "outbox.db")


@pytest.mark.parametrize(
    ("exc", "text", "permanent"),
    [
        (ConnectionRefusedError(), "nothing listens there", False),
        (TimeoutError(), "no answer", False),
        (socket.gaierror(-2, "Name or service not known"), "its name cannot be resolved", False),
        (UnicodeError("label too long"), "its name cannot be resolved", False),
        (ConnectionResetError(), "does uplink.port speak TLS", False),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "is the network cable in", False),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "is the network cable in", False),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files", False),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca"), "does not know the CA", True),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "does not speak TLS", True),
        (ssl.SSLError(1, "[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED]"), "our certificate /c.pem has expired", True),
        (ssl.SSLError(1, "something new"), "TLS: something new", False),
    ],
)
def test_faults_are_one_line_that_names_the_broker(exc: Exception, text: str, permanent: bool) -> None:
    fault = Broker(host="b.example", port=8883, ca="/ca.pem", cert="/c.pem").unreachable(exc)
    assert fault.text.startswith("broker b.example:8883: ")
    assert text in fault.text
    assert "\n" not in fault.text
    assert fault.permanent is permanent


def test_how_a_connection_ended() -> None:
    broker = Broker(host="b", port=1, cert="/c.pem")
    assert broker.ended([], accepted=True).text == "broker b:1: connection lost"
    assert broker.ended(["reset"], accepted=True).text == "broker b:1: connection lost (reset)"
    assert "hung up before it answered (EOF): is it an MQTT broker" in broker.ended(["EOF"], accepted=False).text
    alert = broker.ended(["Broken pipe", "[SSL] tlsv13 alert certificate required"], accepted=False)
    assert "it wants a client certificate" in alert.text
    assert alert.permanent


def test_reason_codes() -> None:
    broker = Broker(host="b", port=1)
    assert broker.refused(0x84, "Unsupported protocol version").permanent
    assert "does not speak MQTT 5" in broker.refused(0x84, "").text
    assert broker.refused(0x88, "Server unavailable").text == "broker b:1: Server unavailable (0x88)"
    assert not broker.refused(0x88, "Server unavailable").permanent


def test_braces_in_an_error_are_harmless() -> None:
    assert Broker(host="b", port=1).unreachable(OSError("{0} {nope}")).text == "broker b:1: {0} {nope}"


def test_backoff_is_bounded_and_jittered() -> None:
    backoff = Backoff(1, 10, jitter=lambda: 0.5)
    assert [backoff.next() for _ in range(6)] == [0.75, 1.5, 3.0, 6.0, 7.5, 7.5]
    backoff.reset()
    assert backoff.next() == 0.75
    assert backoff.next(slowly=True) == 7.5
    assert all(0.5 <= Backoff(1, 10).next() <= 1 for _ in range(100))
