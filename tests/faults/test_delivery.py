"""Every known way in which MQTT loses messages, against a real mosquitto. What was committed arrives, in order, and the
status file says what is wrong meanwhile."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from edge import clock
from edge.messages import ProcedureStarted
from edge.uplink.service import SHORT_LIVES
from edge.uplink.wire import State
from tests.support.broker import PERSISTENT, Authority, Broker, frozen, missing_tools
from tests.support.delivery import DEVICE, Box, Inbox, alert, consumer, watching
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())


def test_absent_at_start(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    box = Box(tmp_path, broker.port)
    with box.outbox() as outbox, box.uplink():
        outbox.put([alert(n) for n in range(10)])
        status = box.wait_status(lambda s: s.depth == 10, "the backlog")
        assert not status.connected
        assert not status.permanent
        assert (status.clock.trusted, status.clock.source) == (clock.read().trusted, clock.read().source)
        assert status.last_error == (
            f"broker 127.0.0.1:{broker.port}: nothing listens there: is the broker running, is uplink.port right?"
        )
        with broker, consumer(box.config) as inbox:
            inbox.wait_numbers(range(10))
            box.wait_status(lambda s: s.depth == 0 and s.last_error == "", "all well again")


def test_outbox_absent_at_start(broker: Broker, tmp_path: Path) -> None:
    box = Box(tmp_path, broker.port)
    with consumer(box.config) as inbox, box.uplink():
        box.wait_status(lambda s: s.connected and "not there yet" in s.last_error and s.depth == -1, "the complaint")
        box.put([alert(1)])
        inbox.wait_numbers([1])
        box.wait_status(lambda s: s.last_error == "" and s.depth == 0, "all well")


def test_outbox_replaced_by_core(broker: Broker, tmp_path: Path) -> None:
    """Core moved a damaged outbox aside while the uplink had it open."""
    box = Box(tmp_path, broker.port)
    with consumer(box.config) as inbox, box.uplink():
        box.put([alert(1)])
        inbox.wait_numbers([1])
        box.outbox_path.write_bytes(b"\xff" * 8192)
        box.put([alert(2)])
        inbox.wait_numbers([1, 2])
        box.wait_status(lambda s: s.depth == 0 and s.delivered == 2, "the new file emptied")


def test_delivered_but_not_deletable(broker: Broker, tmp_path: Path) -> None:
    """Somebody keeps the outbox locked: what has arrived is not sent again, not even after a reconnect."""
    box = Box(tmp_path, broker.port)
    with consumer(box.config) as inbox, box.outbox() as outbox, box.uplink():
        box.wait_status(lambda s: s.connected, "connected")
        with contextlib.closing(sqlite3.connect(box.outbox_path, isolation_level=None)) as other:
            outbox.put([alert(n) for n in range(100)])
            other.execute("BEGIN IMMEDIATE")
            inbox.wait_numbers(range(100))
            box.wait_status(lambda s: "another process kept it locked" in s.last_error, "the reason")
            broker.kill()
            broker.start()
            box.wait_status(lambda s: s.connects == 2, "reconnected")
            other.execute("ROLLBACK")
        status = box.wait_status(lambda s: s.depth == 0 and s.delivered == 100 and not s.last_error, "deleted")
        assert status.sent == 100
        assert status.republished <= box.config.window
        assert inbox.duplicates <= box.config.window


def test_nobody_subscribes(broker: Broker, tmp_path: Path) -> None:
    """PUBACK 0x10 is a shredder's receipt. The message waits, others do not overtake it."""
    box = Box(tmp_path, broker.port)
    with box.outbox() as outbox, box.uplink():
        outbox.put([alert(n) for n in range(20)])
        status = box.wait_status(lambda s: s.no_subscriber >= 3, "refused receipts")
        assert status.connected
        assert status.depth == 20
        assert status.delivered == 0
        assert status.last_error == f"endoedge/{DEVICE}/alert: nobody subscribes to it, so the broker threw it away"
        with consumer(box.config) as inbox:
            inbox.wait_numbers(range(20))
            box.wait_status(lambda s: s.depth == 0 and not s.waiting, "all well")


def test_nobody_need_subscribe_where_the_broker_has_rules(broker: Broker, tmp_path: Path) -> None:
    box = Box(tmp_path, broker.port, require_subscriber=False)
    box.put([alert(1)])
    with box.uplink():
        box.wait_status(lambda s: s.delivered == 1 and s.no_subscriber == 1 and s.depth == 0, "taken at its word")


def test_alerts_do_not_wait_behind_events(broker: Broker, tmp_path: Path) -> None:
    """Somebody subscribes to alerts only."""
    box = Box(tmp_path, broker.port)
    box.put([ProcedureStarted(procedure="p", captured_ns=0, media_ns=0), alert(1)])
    with watching(box.config, f"endoedge/{DEVICE}/alert") as seen, box.uplink():
        wait_for(lambda: seen, "the alert")
        box.wait_status(
            lambda s: list(s.waiting) == [f"endoedge/{DEVICE}/event"] and s.depth == 1 and s.delivered == 1, "one waits"
        )


def test_killed_broker_with_persistence(tmp_path: Path) -> None:
    broker = Broker(tmp_path, options=PERSISTENT)
    box = Box(tmp_path, broker.port)
    with broker, consumer(box.config) as inbox, box.outbox() as outbox, box.uplink():
        for n in range(6):
            outbox.put([alert(10 * n + i) for i in range(10)])
            broker.kill()
            broker.start()
        inbox.wait_numbers(range(60))
        box.wait_status(lambda s: s.depth == 0, "empty")


def test_broker_loses_its_memory(tmp_path: Path) -> None:
    """It has acknowledged messages for a consumer that is away, and forgets them: only the consumer's word counts."""
    broker = Broker(tmp_path)
    box = Box(tmp_path, broker.port, confirm="subscriber", confirm_timeout_s=0.5)
    with broker, box.outbox() as outbox, box.uplink():
        with consumer(box.config) as inbox:
            outbox.put([alert(n) for n in range(10)])
            inbox.wait_numbers(range(10))
            box.wait_status(lambda s: s.delivered == 10, "acknowledged")
        outbox.put([alert(n) for n in range(10, 20)])
        box.wait_status(lambda s: "no subscriber has acknowledged it" in s.last_error, "the reason")
        assert box.depth() == 10
        broker.kill()
        broker.start()
        with consumer(box.config) as inbox:
            inbox.wait_numbers(range(10, 20))
            status = box.wait_status(lambda s: s.depth == 0, "empty")
        assert status.delivered == 20
        assert status.republished > 0


def test_broker_word_is_not_enough_for_the_same(tmp_path: Path) -> None:
    """The counterpart: with `confirm = "broker"` the same broker does lose messages, so the test above can fail."""
    broker = Broker(tmp_path)
    box = Box(tmp_path, broker.port)
    with broker, box.outbox() as outbox, box.uplink():
        with consumer(box.config):
            pass
        outbox.put([alert(n) for n in range(10)])
        box.wait_status(lambda s: s.delivered == 10 and s.depth == 0, "queued for the absent consumer")
        broker.kill()
        broker.start()
        with consumer(box.config) as inbox:
            box.wait_status(lambda s: s.connects == 2, "reconnected")
            outbox.put([alert(10)])
            inbox.wait_numbers([10])


def test_frozen_broker(broker: Broker, tmp_path: Path) -> None:
    """It keeps the connection open and says nothing: noticed after 1.5 keepalives."""
    box = Box(tmp_path, broker.port, keepalive_s=2)
    with consumer(box.config) as inbox, box.outbox() as outbox, box.uplink():
        box.wait_status(lambda s: s.connected, "connected")
        started = time.monotonic()
        with frozen(broker):
            outbox.put([alert(n) for n in range(5)])
            status = box.wait_status(lambda s: not s.connected, "noticed")
            assert time.monotonic() - started < 15
            assert "connected, but silent: it hangs" in status.last_error
            assert status.depth == 5
        inbox.wait_numbers(range(5))
        box.wait_status(lambda s: s.depth == 0 and s.connected, "all well")


def test_access_denied_then_allowed(tmp_path: Path) -> None:
    """MQTT 3.1.1 calls a denied publish a success. Here it waits, and order is kept when it is allowed."""
    denied = "topic readwrite endoedge/+/state\ntopic read endoedge/#\n"
    broker = Broker(tmp_path, acl=denied)
    box = Box(tmp_path, broker.port)
    with broker, consumer(box.config) as inbox, box.outbox() as outbox, box.uplink():
        outbox.put([alert(n) for n in range(40)])
        status = box.wait_status(lambda s: s.refused >= 2, "refusals")
        assert status.last_error == f"endoedge/{DEVICE}/alert: the broker refuses it: Not authorized (0x87)"
        assert status.depth == 40
        broker.set_acl(denied + "topic readwrite endoedge/#\n")
        inbox.wait_numbers(range(40))
        box.wait_status(lambda s: s.depth == 0 and s.last_error == "", "all well")


def test_wrong_password_is_mended_without_a_restart(tmp_path: Path) -> None:
    broker = Broker(tmp_path, users={DEVICE: "right"})
    password = tmp_path / "password"
    password.write_text("wrong\n")
    box = Box(tmp_path, broker.port, username=DEVICE, password_file=str(password))
    with broker, box.uplink():
        status = box.wait_status(lambda s: s.permanent and "it refuses" in s.last_error, "refused")
        assert not status.connected
        password.unlink()
        box.wait_status(lambda s: s.permanent and f"{password}: cannot be read" in s.last_error, "missing")
        password.write_text("right\n")
        box.wait_status(lambda s: s.connected, "accepted")


@pytest.mark.parametrize(
    ("broker_cert", "box_cert", "complaint"),
    [
        ("good", "good", ""),
        ("foreign", "good", "was not signed by the CA in"),
        ("expired", "good", "its certificate has expired"),
        ("other-host", "good", "is for another"),
        ("good", "expired", "has expired: renew it"),
        ("good", "foreign", "it does not know the CA that signed our certificate"),
        ("good", "none", "it wants a client certificate"),
    ],
)
def test_tls(tmp_path: Path, broker_cert: str, box_cert: str, complaint: str) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    san = {"other-host": "DNS:elsewhere.example"}.get(broker_cert, "IP:127.0.0.1")
    issuer = {"foreign": theirs}
    server = issuer.get(broker_cert, ours).issue("broker", san=san, expired=broker_cert == "expired")
    client = issuer.get(box_cert, ours).issue(DEVICE, expired=box_cert == "expired")
    tls = {"ca": str(ours.ca)} | ({"cert": str(client.cert), "key": str(client.key)} if box_cert != "none" else {})
    acl = "pattern readwrite endoedge/%u/#\nuser ward\ntopic readwrite endoedge/#\n"
    broker = Broker(tmp_path, tls=server, client_ca=ours.ca, acl=acl)
    box = Box(tmp_path, broker.port, tls=tls)
    with broker, box.outbox() as outbox, box.uplink():
        outbox.put([alert(1)])
        if complaint:
            status = box.wait_status(lambda s: complaint in s.last_error and s.depth == 1, complaint)
            assert status.permanent
            assert f"127.0.0.1:{broker.port}" in status.last_error
        else:
            ward = ours.issue("ward")
            config = msgspec.structs.replace(
                box.config, tls=msgspec.structs.replace(box.config.tls, cert=str(ward.cert), key=str(ward.key))
            )
            with consumer(config) as inbox:
                inbox.wait_numbers([1])


def test_plain_port_with_tls(broker: Broker, tmp_path: Path) -> None:
    box = Box(tmp_path, broker.port, tls={"ca": str(Authority(tmp_path).ca)})
    with box.uplink():
        status = box.wait_status(lambda s: "does uplink.port speak TLS?" in s.last_error, "an explanation")
        assert not status.connected


def test_not_an_mqtt_broker(tmp_path: Path) -> None:
    """A web server, say."""
    import http.server
    import threading

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        box = Box(tmp_path, server.server_address[1])
        with box.uplink():
            status = box.wait_status(lambda s: s.last_error and "not connected yet" not in s.last_error, "a complaint")
            assert not status.connected
        server.shutdown()


def test_two_boxes_with_one_name(broker: Broker, tmp_path: Path) -> None:
    """The broker ends the older connection, without a word (mosquitto 2.0.11). They say so and take turns slowly."""
    boxes = []
    for name in "ab":
        (tmp_path / name).mkdir()
        boxes.append(Box(tmp_path / name, broker.port))
    with boxes[0].uplink(), boxes[1].uplink():
        text = "does another client use our client id"
        assert boxes[0].wait_status(lambda s: text in s.last_error, "an explanation").permanent


def test_a_broker_that_crashes_again_and_again_is_not_taken_for_another_client(tmp_path: Path) -> None:
    """It drops us each time, and then it is gone: that explains the drops, and waiting helps."""
    broker = Broker(tmp_path)
    box = Box(tmp_path, broker.port)
    with box.uplink():
        for connects in range(1, SHORT_LIVES + 2):
            broker.start()
            box.wait_status(lambda s, n=connects: s.connected and s.connects >= n, f"connect {connects}")
            broker.kill()
        assert not box.wait_status(lambda s: "nothing listens there" in s.last_error, "what is so").permanent


UPLINK = """
import sys, threading
from pathlib import Path
from edge.uplink import service
from edge.uplink.config import UplinkConfig
folder = Path(sys.argv[1])
config = UplinkConfig(host="127.0.0.1", port=int(sys.argv[2]), keepalive_s=2, retry_min_s=0.05, retry_max_s=0.2)
service.run(config, "box-1", folder / "outbox.db", folder / "uplink.json", folder / "bell", threading.Event())
"""


def test_will_birth_and_farewell(broker: Broker, tmp_path: Path) -> None:
    """kill -9 of the uplink: the broker says "lost". Every connect says "connected", a clean stop says "stopped"."""
    box = Box(tmp_path, broker.port)
    with watching(box.config, f"endoedge/{DEVICE}/state") as seen:

        def reasons() -> list[str]:
            return [msgspec.json.decode(event.payload, type=State).reason for event in seen]

        process = subprocess.Popen([sys.executable, "-c", UPLINK, tmp_path, str(broker.port)])
        wait_for(lambda: reasons() == ["connected"], "birth")
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: reasons() == ["connected", "lost"], "will")
        with box.uplink():
            wait_for(lambda: reasons() == ["connected", "lost", "connected"], "birth again")
        wait_for(lambda: reasons() == ["connected", "lost", "connected", "stopped"], "farewell")
    with watching(box.config, f"endoedge/{DEVICE}/state") as late:
        wait_for(lambda: late, "the retained state")
        assert late[0].retain
        assert msgspec.json.decode(late[0].payload, type=State).online is False


def test_birth_after_the_broker_lost_its_memory(broker: Broker, tmp_path: Path) -> None:
    box = Box(tmp_path, broker.port)
    with box.uplink():
        for connects in (1, 2, 3):
            box.wait_status(lambda s, n=connects: s.connects == n and s.connected, f"connect {connects}")
            with watching(box.config, f"endoedge/{DEVICE}/state") as seen:
                wait_for(lambda seen=seen: seen, "the state, republished")
                assert msgspec.json.decode(seen[0].payload, type=State).online
            broker.kill()
            broker.start()


def test_order_through_everything(tmp_path: Path) -> None:
    """A backlog with a small window, a broker restarted in the middle of it, twice."""
    broker = Broker(tmp_path, options=PERSISTENT)
    box = Box(tmp_path, broker.port, window=3)
    inbox: Inbox
    with broker, consumer(box.config) as inbox, box.outbox() as outbox, box.uplink():
        outbox.put([alert(n) for n in range(300)])
        for share in (50, 150):
            wait_for(lambda share=share: len(inbox.messages) > share, "some of them")
            broker.stop()
            broker.start()
        inbox.wait_numbers(range(300))
