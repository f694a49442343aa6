"""Pushed figures: what a receiver gets, what is said when it does not, and that no delivery waits for it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.errors import UplinkError
from edge.uplink import credentials
from edge.uplink.config import UplinkConfig
from tests.support.broker import Authority, Broker, free_port, missing_tools
from tests.support.delivery import Box, alert, consumer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
PLACE = "/metrics/job/endoedge/instance/box-1"


class Receiver(ThreadingHTTPServer):
    """Keeps what is PUT, and answers `code`."""

    def __init__(self, identity: Any = None, client_ca: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.code = 200
        self.got: list[tuple[str, bytes]] = []
        if identity:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.cert, identity.key)
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handshake that fails is the other side's to tell."""

    @contextlib.contextmanager
    def listening(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_PUT(self) -> None:
        self.server.got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.code)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


def pushing(folder: Path, port: int, url: str, **uplink: Any) -> Box:
    return Box(folder, port, metrics={"port": 0, "push": {"url": url, "every_s": 1}}, **uplink)


def test_a_receiver_gets_the_figures(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, Receiver().listening() as receiver:
        box = pushing(tmp_path, broker.port, f"http://127.0.0.1:{receiver.server_port}")
        box.put([])
        with consumer(box.config) as inbox, box.uplink():
            box.put([alert(1)])
            inbox.wait_numbers([1])
            wait_for(lambda: any(b"endoedge_delivered_total 1.0" in text for _, text in receiver.got), "the figures")
            receiver.code = 503
            box.wait_status(lambda s: "answers 503" in s.metrics_push and s.last_error == "", "the refusal")
            receiver.code = 202
            box.wait_status(lambda s: s.metrics_push == "", "all well again")
    place, text = receiver.got[-1]
    assert place == PLACE
    families = {family.name for family in text_string_to_metric_families(text.decode())}
    assert {"endoedge_broker_connected", "endoedge_outbox_messages", "endoedge_core_up"} <= families


def test_a_receiver_that_hangs_holds_up_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, Broker(tmp_path) as broker:
        box = pushing(tmp_path, broker.port, f"http://127.0.0.1:{mute.getsockname()[1]}")
        box.put([])
        with consumer(box.config) as inbox, box.uplink():
            asked, _ = mute.accept()
            with asked:
                assert asked.recv(3) == b"PUT"
                box.put([alert(n) for n in range(20)])
                inbox.wait_numbers(range(20))
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 8  # it is left behind at the end


def test_a_receiver_that_is_away_is_said(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        box = pushing(tmp_path, broker.port, f"http://127.0.0.1:{free_port()}")
        box.put([])
        with box.uplink():
            status = box.wait_status(lambda s: s.metrics_push != "", "the complaint")
        assert "Connection refused" in status.metrics_push
        assert status.last_error == ""


def test_https_shows_the_boxs_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("box-1")
    tls = {"ca": str(authority.ca), "cert": str(own.cert), "key": str(own.key)}
    with (
        Broker(tmp_path, tls=authority.issue("broker")) as broker,
        Receiver(authority.issue("receiver"), authority.ca).listening() as receiver,
    ):
        box = pushing(tmp_path, broker.port, f"https://127.0.0.1:{receiver.server_port}/in", tls=tls)
        box.put([])
        with box.uplink():
            wait_for(lambda: receiver.got, "the figures")
        assert receiver.got[0][0] == f"/in{PLACE}"


@pytest.mark.parametrize(
    "url", ["http://me:pw@gateway", "https://gateway?key=1", "ftp://gateway", "gateway:9091", "https://"]
)
def test_addresses_that_are_none_or_hold_a_secret(url: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"metrics\.push\.url"):
        msgspec.convert({"metrics": {"push": {"url": url}}}, UplinkConfig)


def test_plain_text_to_another_machine_only_when_asked_for() -> None:
    wanted = {"metrics": {"push": {"url": "http://gateway:9091"}}}
    with pytest.raises(UplinkError, match=r"push\.url names another machine, gateway: use https"):
        credentials.load(msgspec.convert(wanted, UplinkConfig))
    credentials.load(msgspec.convert(wanted | {"allow_plaintext": True}, UplinkConfig))


@pytest.mark.skipif(not shutil.which("prometheus-pushgateway"), reason="prometheus-pushgateway is not installed")
def test_a_real_pushgateway(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def shown() -> str:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
        return ""

    listen = f"--web.listen-address=127.0.0.1:{port}"
    with Broker(tmp_path) as broker, (tmp_path / "log").open("wb") as log:
        gateway = subprocess.Popen(["prometheus-pushgateway", listen], stderr=log)
        try:
            box = pushing(tmp_path, broker.port, url)
            box.put([])
            with box.uplink():
                wait_for(lambda: "endoedge_broker_connected{" in shown(), "the gateway shows the figures")
                box.wait_status(lambda s: s.metrics_push == "" and s.connected, "all is well")
            line = next(line for line in shown().splitlines() if line.startswith("endoedge_outbox_messages{"))
            assert 'instance="box-1"' in line
            assert 'job="endoedge"' in line
        finally:
            gateway.terminate()
            gateway.wait(10)
