"""The figures of `/metrics`, sent out: for a box that nobody can reach to scrape it. Off unless a receiver is named.

One HTTP PUT of Prometheus' text format to `URL/metrics/job/endoedge/instance/DEVICE`: what a Pushgateway takes, and
what speaks its protocol (VictoriaMetrics). That needs no package beyond the one that writes the text; OTLP and
remote-write would need three or four, for the same figures. Telemetry over MQTT has them, too.

A thread of its own: however long a name server or a receiver takes, no delivery waits for it.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from edge import clock
from edge.errors import UplinkError
from edge.uplink import credentials
from edge.uplink.config import PushConfig, UplinkConfig

log = logging.getLogger(__name__)

ANSWER_WITHIN_S = 10.0
LEAVE_WITHIN_S = 1.0  # a request that hangs longer is left behind when the process ends


class Push:
    """Owner: the uplink's thread; `fault` is set by the one that sends."""

    def __init__(self, config: UplinkConfig, push: PushConfig, device: str, figures: Callable[[], bytes]) -> None:
        """`figures`: the text, b"" while there is none; called in the thread that sends."""
        url = urlsplit(push.url)
        self.fault = ""  # why the last figures did not arrive; "" when they did
        self._config, self._every_s, self._figures = config, push.every_s, figures
        self._where, self._secure = f"{url.scheme}://{url.netloc}", url.scheme == "https"
        self._url = f"{push.url.rstrip('/')}/metrics/job/endoedge/instance/{quote(device, safe='')}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="push", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(LEAVE_WITHIN_S)

    def _run(self) -> None:
        while True:
            if text := self._figures():
                self._note(self._send(text))
            if clock.wait(self._stop, self._every_s if text else 1.0):
                return

    def _send(self, text: bytes) -> str:
        """Why it did not arrive; "" when it did."""
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        request = urllib.request.Request(self._url, text, headers, method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S, context=self._context()):
                return ""
        except urllib.error.HTTPError as exc:
            exc.close()
            return f"{self._where}: answers {exc.code} {exc.reason}"
        except (OSError, http.client.HTTPException, UplinkError) as exc:
            return f"{self._where}: {getattr(exc, 'reason', '') or exc}"

    def _context(self) -> ssl.SSLContext | None:
        """That of `[uplink.tls]`, read anew each time: somebody may have renewed it; else whom this machine trusts."""
        if not self._secure:
            return None
        return credentials.load(self._config).tls or ssl.create_default_context()

    def _note(self, fault: str) -> None:
        """A change is one line in the log."""
        if fault and fault != self.fault:
            log.warning("metrics are not pushed: %s", fault)
        elif self.fault and not fault:
            log.info("metrics are pushed again")
        self.fault = fault


def open_push(config: UplinkConfig, device: str, figures: Callable[[], bytes] | None) -> Push | None:
    """None where the site wants none."""
    push = config.metrics.push if config.metrics else None
    return Push(config, push, device, figures) if push and figures else None
