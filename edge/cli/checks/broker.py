"""The broker: a whole MQTT 5 greeting, and (deep) a message to ourselves."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import TypeVar

from edge.cli.site import Site
from edge.errors import UplinkError
from edge.uplink.credentials import load as load_credentials
from edge.uplink.mqtt import Answered, Connected, Connection, Happening, LinkDownError, Lost, Received, Subscribed
from edge.uplink.wire import Topics

WITHIN_S = 5.0
_NOT_AUTHORISED, _FAILURE = 0x87, 0x80
_H = TypeVar("_H", Connected, Subscribed)


def greeting(site: Site) -> str:
    """With the configured credentials; nothing is published."""
    with _connected(site):
        return _accepted(site)


def round_trip(site: Site) -> str:
    """Published on the topic `check` of this device, and back by our own subscription; under a client id of its own, so
    that the uplink's connection stands."""
    topic = Topics(prefix=site.uplink.topic_prefix, device=site.config.device).check
    rule = f"with mosquitto: `pattern readwrite {site.uplink.topic_prefix}/%u/#`"
    with _connected(site) as connection:
        connection.subscribe([topic])
        if (granted := _next(connection, Subscribed)) is None or granted.refused:
            why = ", ".join(granted.refused) if granted else "no answer"
            raise UplinkError(f"we may not subscribe to {topic} ({why}): the broker's ACL needs it; {rule}")
        mark, begun = os.urandom(8), time.monotonic()
        connection.publish(topic, b'{"check":true}', correlation=mark)
        answer, back = _answer_and_echo(connection, mark)
        spent_ms = (time.monotonic() - begun) * 1e3
    if answer is None:
        raise UplinkError(f"{site.uplink.host}:{site.uplink.port} does not acknowledge within {WITHIN_S:.0f} s")
    if answer.code >= _FAILURE:
        hint = f"; {rule}" if answer.code == _NOT_AUTHORISED else ""
        raise UplinkError(f"we may not publish on {topic} ({answer.name}){hint}")
    if not back:
        raise UplinkError(f"published on {topic}, and it does not come back: the ACL lets us write, not read; {rule}")
    return f"{_accepted(site)}; {topic} and back in {spent_ms:.0f} ms"


def _accepted(site: Site) -> str:
    tls = "with TLS" if site.uplink.tls else "without TLS"
    return f"{site.uplink.host}:{site.uplink.port} accepts us, {tls}"


@contextlib.contextmanager
def _connected(site: Site) -> Iterator[Connection]:
    connection = Connection(site.uplink, load_credentials(site.uplink), f"{site.config.device}-check")
    try:
        connection.open()
        if _next(connection, Connected) is None:
            address = f"{site.uplink.host}:{site.uplink.port}"
            raise UplinkError(f"{address} takes the connection but does not answer MQTT")
        yield connection
    except LinkDownError as exc:
        raise UplinkError(str(exc)) from exc
    finally:
        connection.close()


def _happenings(connection: Connection) -> Iterator[Happening]:
    """For WITHIN_S at most. Raises UplinkError when the connection ends."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        for happening in connection.step(0.1):
            if isinstance(happening, Lost):
                raise UplinkError(happening.fault.text)
            yield happening


def _next(connection: Connection, kind: type[_H]) -> _H | None:
    """None: it did not come in time."""
    return next((one for one in _happenings(connection) if isinstance(one, kind)), None)


def _answer_and_echo(connection: Connection, mark: bytes) -> tuple[Answered | None, bool]:
    answer, back = None, False
    for happening in _happenings(connection):
        if isinstance(happening, Answered):
            answer = happening
        elif isinstance(happening, Received) and happening.correlation == mark:
            connection.settle(happening)
            back = True
        if answer and (back or answer.code >= _FAILURE):
            break
    return answer, back
