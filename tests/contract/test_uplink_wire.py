"""What travels, against a real mosquitto and no faults: topics, payloads, properties, who answers what."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from pathlib import Path

import msgspec
import pytest

from edge.errors import UplinkError
from edge.messages import AlertCleared, Message, ProcedureStarted
from edge.uplink import service
from edge.uplink.consumer import Consumer
from edge.uplink.credentials import load
from edge.uplink.mqtt import Connected, Connection, LinkDownError, Received, Subscribed
from edge.uplink.wire import State, Telemetry
from tests.support.broker import Broker, free_port, missing_tools
from tests.support.delivery import DEVICE, Box, alert, consumer, watching
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())


def test_topics_and_payloads(broker: Broker, tmp_path: Path) -> None:
    """The payload is the committed bytes; topics name the device and nothing else."""
    box = Box(tmp_path, broker.port)
    with watching(box.config, "#") as seen, box.uplink():
        procedure = "Mustermann^Max^19700101"  # should a patient's name ever get in here
        messages = box.put(
            [
                alert(1),
                ProcedureStarted(procedure=procedure, captured_ns=2, media_ns=2),
                AlertCleared(kind="polyp", captured_ns=3, media_ns=3),
            ]
        )
        wait_for(lambda: len([e for e in seen if e.topic.endswith(("alert", "event"))]) == 3, "all three")
        box.wait_status(lambda s: s.depth == 0, "deleted")
    kept = {e.payload: e.topic for e in seen if e.topic.endswith(("alert", "event"))}
    assert {msgspec.json.decode(payload, type=Message).id: topic for payload, topic in kept.items()} == {
        messages[0].id: f"endoedge/{DEVICE}/alert",
        messages[1].id: f"endoedge/{DEVICE}/event",
        messages[2].id: f"endoedge/{DEVICE}/alert",
    }
    assert {e.topic for e in seen} <= {f"endoedge/{DEVICE}/{leaf}" for leaf in ("alert", "event", "state", "telemetry")}
    assert all(e.response_topic == "" for e in seen), "nobody asked for acknowledgements"
    states = [msgspec.json.decode(e.payload, type=State) for e in seen if e.topic.endswith("state")]
    assert [(s.online, s.reason) for s in states] == [(True, "connected"), (False, "stopped")]
    assert states[0].boot == messages[0].boot


def test_subscribers_word(broker: Broker, tmp_path: Path) -> None:
    """A message that asks for an acknowledgement says where and which; one that gets none stays."""
    box = Box(tmp_path, broker.port, confirm="subscriber", confirm_timeout_s=0.3)
    with watching(box.config, f"endoedge/{DEVICE}/alert") as seen, box.uplink():
        (message,) = box.put([alert(1)])
        wait_for(lambda: len(seen) >= 2, "sent again")
        assert {e.response_topic for e in seen} == {f"endoedge/{DEVICE}/ack"}
        assert {e.correlation for e in seen} == {message.id.encode()}
        assert box.depth() == 1
        with consumer(box.config) as inbox:
            inbox.wait_numbers([1])
            box.wait_status(lambda s: s.delivered == 1 and s.depth == 0, "acknowledged")


def test_strangers_cannot_acknowledge_or_choose_where_we_publish(broker: Broker, tmp_path: Path) -> None:
    box = Box(tmp_path, broker.port, confirm="subscriber", confirm_timeout_s=60)
    with watching(box.config, "elsewhere/#") as seen, consumer(box.config) as inbox:
        connection = Connection(box.config, load(box.config), "stranger")
        connection.open()
        while not any(isinstance(event, Connected) for event in connection.step(0.1)):
            pass
        (message,) = box.put([alert(1)])
        payload = msgspec.json.encode(message)
        connection.publish(f"endoedge/{DEVICE}/alert", payload, response_topic="elsewhere/x", correlation=b"c")
        inbox.wait_numbers([1])
        with box.uplink():
            wait_for(lambda: inbox.duplicates == 1, "the box's own copy, dropped by its id")
            box.wait_status(lambda s: s.delivered == 1, "acknowledged all the same")
            for junk in (b"", b"\xff\xfe", b"x" * 1000, b"01ARZ3NDEKTSV4RRFFQ69G5FAV"):
                connection.publish(f"endoedge/{DEVICE}/ack", b"{}", correlation=junk)
            connection.step(0.1)
            box.put([alert(2)])
            inbox.wait_numbers([1, 2])
        connection.close()
    assert seen == []


def test_consumer_survives_junk(broker: Broker, tmp_path: Path) -> None:
    box = Box(tmp_path, broker.port)
    with consumer(box.config) as inbox:
        connection = Connection(box.config, load(box.config), "stranger")
        connection.open()
        while not any(isinstance(event, Connected) for event in connection.step(0.1)):
            pass
        for junk in (b"", b"\xff", b"{}", b"[" * 10_000, json.dumps({"id": 1}).encode()):
            connection.publish(f"endoedge/{DEVICE}/alert", junk)
        connection.step(0.1)
        with box.uplink():
            box.put([alert(1)])
            inbox.wait_numbers([1])
        connection.close()


def test_consumer_takes_again_what_it_could_not_handle(broker: Broker, tmp_path: Path) -> None:
    """Its callback raised: not settled, so the broker delivers it to the next run."""
    box = Box(tmp_path, broker.port)

    def fail(*_args: object) -> None:
        raise RuntimeError("database gone")

    broken = Consumer(box.config, fail, client_id="ward")
    ready, raised = threading.Event(), []

    def target() -> None:
        try:
            broken.run(threading.Event(), ready)
        except RuntimeError as exc:
            raised.append(exc)

    thread = threading.Thread(target=target)
    thread.start()
    assert ready.wait(10)
    with box.uplink():
        box.put([alert(1)])
        thread.join(10)
        assert [str(exc) for exc in raised] == ["database gone"]
        with consumer(box.config, client_id="ward") as inbox:
            inbox.wait_numbers([1])


def test_telemetry(broker: Broker, tmp_path: Path) -> None:
    """Core's status file as it is; null when it is missing or broken; never more often than once a second."""
    box = Box(tmp_path, broker.port, telemetry_s=1)
    core = tmp_path / "status.json"

    def latest() -> Telemetry:
        return msgspec.json.decode(seen[-1].payload, type=Telemetry)

    with watching(box.config, f"endoedge/{DEVICE}/telemetry") as seen, box.uplink(telemetry=core):
        for content, expected in ((None, None), (b'{"fps": 25.0}', {"fps": 25.0}), (b'{"fps": 2', None)):
            if content is not None:
                core.write_bytes(content)
            wait_for(lambda expected=expected: seen and latest().core == expected, f"{expected}")
            assert latest().uplink.connected
    assert all(event.qos == 0 and not event.retain for event in seen)
    gaps = [later.received_ns - earlier.received_ns for earlier, later in itertools.pairwise(seen)]
    assert min(gaps) > 0.5e9


def test_the_ring_is_quicker_than_the_poll(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(tmp_path, broker.port)
    with consumer(box.config) as inbox, box.outbox() as outbox, box.uplink():
        monkeypatch.setattr(service, "TICK_S", 2.0)
        outbox.put([alert(0)])
        inbox.wait_numbers([0])
        box.wait_status(lambda s: s.depth == 0, "settled")
        took = []
        for number in range(1, 11):
            started = time.monotonic()
            outbox.put([alert(number)])
            wait_for(lambda number=number: len(inbox.messages) > number, "arrival")
            took.append(time.monotonic() - started)
        assert sorted(took)[5] < 0.7


def test_polls_without_a_ring(broker: Broker, tmp_path: Path) -> None:
    """Killed between COMMIT and the wake-up."""
    box = Box(tmp_path, broker.port)
    with consumer(box.config) as inbox, box.outbox(), box.uplink():
        box.wait_status(lambda s: s.connected, "connected")
        box.notify.unlink()
        box.put([alert(1)])
        inbox.wait_numbers([1])


def test_one_uplink_per_outbox(broker: Broker, tmp_path: Path) -> None:
    box = Box(tmp_path, broker.port)
    with box.uplink():
        box.wait_status(lambda s: s.connected, "connected")
        with pytest.raises(UplinkError, match=r"outbox .*outbox\.db: another uplink serves it already"), box.uplink():
            pass
        box.wait_status(lambda s: s.connected, "undisturbed")


def test_window_respects_the_broker(tmp_path: Path) -> None:
    """A Receive Maximum of 2 for alerts, events and state together; more would end the connection."""
    broker = Broker(tmp_path, options=("persistence false", "max_inflight_messages 2"))
    box = Box(tmp_path, broker.port, window=100)
    with broker, consumer(box.config) as inbox, box.outbox() as outbox, box.uplink():
        outbox.put([alert(n) for n in range(200)])
        wait_for(lambda: len(inbox.messages) == 200, "all")
        assert inbox.numbers == list(range(200))
        assert box.wait_status(lambda s: s.depth == 0, "empty").connects == 1


def test_status_file_that_cannot_be_written_stops_nothing(broker: Broker, tmp_path: Path) -> None:
    box = Box(tmp_path, broker.port)
    box.status_path = tmp_path / "nowhere" / "uplink.json"
    with consumer(box.config) as inbox, box.uplink():
        box.put([alert(1)])
        inbox.wait_numbers([1])


def test_old_broker(tmp_path: Path) -> None:
    """One that answers MQTT 5 with MQTT 3's "unacceptable protocol version"."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.recv(4096)
                        client.sendall(b"\x20\x02\x00\x01")

        thread = threading.Thread(target=answer)
        thread.start()
        box = Box(tmp_path, server.getsockname()[1])
        with box.uplink():
            assert box.wait_status(lambda s: "does not speak MQTT 5" in s.last_error, "the reason").permanent
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("answer", [b"", b"\x00" * 50, os.urandom(200), b"\x20\xff\xff\xff\xff\xff", b"\x20\x00"])
def test_bytes_that_are_not_mqtt(tmp_path: Path, answer: bytes) -> None:
    """They end the connection, with a line for people, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        box = Box(tmp_path, server.getsockname()[1])
        connection = Connection(box.config, load(box.config), "x")
        connection.open()
        client, _ = server.accept()
        client.sendall(answer)
        client.close()
        events = []
        while not events:
            events = connection.step(0.1)
        assert [type(event).__name__ for event in events] == ["Lost"]
        assert connection.step(0) == []
        connection.close()


def test_connection_refused_is_typed(tmp_path: Path) -> None:
    box = Box(tmp_path, free_port())
    connection = Connection(box.config, load(box.config), "x")
    with pytest.raises(LinkDownError, match=r"nothing listens there"):
        connection.open()


def test_session_is_kept_for_a_consumer(broker: Broker, tmp_path: Path) -> None:
    """What is sent while it is away waits for it at the broker."""
    box = Box(tmp_path, broker.port)
    with box.uplink():
        with consumer(box.config) as inbox:
            box.put([alert(1)])
            inbox.wait_numbers([1])
        box.put([alert(2)])
        box.wait_status(lambda s: s.delivered == 2, "taken by the broker")
        with consumer(box.config) as inbox:
            inbox.wait_numbers([2])


def test_happenings_tell_what_was_granted(broker: Broker, tmp_path: Path) -> None:
    box = Box(tmp_path, broker.port)
    connection = Connection(box.config, load(box.config), "x")
    connection.open()
    seen: list[object] = []
    while not any(isinstance(event, Received) for event in seen):
        for event in connection.step(0.1):
            seen.append(event)
            if isinstance(event, Connected):
                assert event.receive_maximum == 20
                assert event.keepalive_s == box.config.keepalive_s
                connection.subscribe(["t"])
            elif isinstance(event, Subscribed):
                assert event.refused == ()
                connection.publish("t", b"x", retain=False)
    assert connection.credit() <= 20
    connection.close()
