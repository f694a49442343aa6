"""A line that is slow, stands still, breaks, or swallows bytes. Under TLS: plain TCP has nothing that would notice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from edge.uplink.wire import UplinkStatus
from tests.support.broker import Authority, Broker, missing_tools
from tests.support.line import Line, Weather
from tests.support.rounds import Play, Said, playing, says

TITLE = "the line to the broker is slow, stands still, breaks in the middle of packets, swallows bytes"
PROMISE = (
    "the uplink says what it sees of that, or counts its new connections; every committed message arrives, in order"
)
TIMES, FEW = 40, 3
SLOW = Weather(delay_s=0.05)
WEATHERS = (SLOW, Weather(delay_s=0.01, cut=0.1), Weather(swallow=0.1), Weather(stands_still=True))
missing = missing_tools


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    authority = Authority(folder)
    broker = Broker(folder, tls=authority.issue("broker"))
    tls = {"ca": str(authority.ca)}
    ward = {"port": broker.port}
    with (
        Line(broker.port, dice) as line,
        playing(folder, broker, port=line.port, tls=tls, ward=ward) as scene,
    ):
        for number in range(times):
            weather = WEATHERS[number % len(WEATHERS)]
            yield scene.round(line.weather(weather), _seen(weather, scene), dice)


def _seen(weather: Weather, scene: Play) -> Said | None:
    if weather is SLOW:
        return None
    if weather.stands_still:
        return says("connected, but silent", "no answer")
    before = scene.status.connects if scene.status else 0

    def seen(status: UplinkStatus) -> bool:
        return status.connects > before or status.last_error != ""

    return seen
