"""The traffic of many boxes at once against a real mosquitto and a real report server, and what became of it.

    result = asyncio.run(Fleet(plan, broker_port, farm).play())

A simulated box has a connection of its own and says what a box says: its state (retained, with a will), telemetry
(QoS 0) and alerts (QoS 1), and hands procedures over by the box's own code. It has no outbox: an alert counts as
promised when the broker has confirmed it. One consumer in a process of its own listens to all of them, as a ward does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import multiprocessing
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import aiomqtt
import msgspec
from sqlalchemy import func, select
from ulid import ULID

from edge.clock import boot_id
from edge.messages import Alert, Message, Priority
from edge.uplink.config import UplinkConfig
from edge.uplink.credentials import load
from edge.uplink.handover import Sent
from edge.uplink.mqtt import Connected, Connection, Received, Subscribed
from edge.uplink.report_http import LinkError
from edge.uplink.wire import State, Telemetry, Topics
from server.clock import age
from server.store.tables import records, reports
from tests.support.boxes import procedure, upload
from tests.support.farm import Farm
from tests.support.statuses import UPLINK

PREFIX = "endoedge"
CORE_BYTES = 1500  # of a core's status in telemetry


@dataclass(frozen=True)
class Plan:
    """`faster`: each box does so many boxes' work. Rates are of one box."""

    boxes: int
    seconds: float
    seed: int
    faster: float = 1.0
    ramp_s: float = 10.0  # in which they come up
    telemetry_s: float = 5.0  # `telemetry_s` of endoedge.toml
    busy: float = 0.6  # share with a procedure going on
    alert_s: float = 60.0  # of a busy one, on average
    procedure_s: float = 2100.0  # of a busy one, with the pause after it
    frames: int = 12
    frame_bytes: int = 200 << 10

    @property
    def uploads(self) -> int:
        return max(1, round(self.boxes * self.busy * self.seconds * self.faster / self.procedure_s))


@dataclass
class Heard:
    """By the consumer. Latencies in s."""

    alerts: dict[str, int] = field(default_factory=dict)  # id → how often
    alert_s: list[float] = field(default_factory=list)
    telemetry_s: list[float] = field(default_factory=list)


@dataclass
class Result:
    plan: Plan
    promised: set[str] = field(default_factory=set)  # alerts that the broker confirmed
    telemetry: int = 0
    failed: list[str] = field(default_factory=list)
    upload_s: list[float] = field(default_factory=list)
    draft_s: list[float] = field(default_factory=list)
    records: int = 0
    drafts: int = 0
    heard: Heard = field(default_factory=Heard)

    @property
    def lost(self) -> int:
        return len(self.promised - self.heard.alerts.keys())

    @property
    def doubled(self) -> int:
        return sum(times - 1 for times in self.heard.alerts.values())

    @property
    def ok(self) -> bool:
        """Telemetry may be lost, by contract."""
        whole = self.records == self.drafts == self.plan.uploads
        return bool(self.promised) and not self.lost and not self.failed and whole


class Fleet:
    def __init__(self, plan: Plan, port: int, farm: Farm) -> None:
        self._plan, self._port, self._farm = plan, port, farm
        self._dice = random.Random(plan.seed)
        self._result = Result(plan)
        self._pool = ThreadPoolExecutor(16)
        self._done = asyncio.Event()

    async def play(self) -> Result:
        plan = self._plan
        asyncio.get_running_loop().set_exception_handler(_told)
        with Consumer(self._port) as consumer:
            boxes = [asyncio.create_task(self._box(number)) for number in range(plan.boxes)]
            uploads = asyncio.create_task(self._uploads())
            await asyncio.sleep(plan.ramp_s + plan.seconds)
            self._done.set()
            await asyncio.gather(*boxes, uploads)
            await self._drafted()
            self._result.heard = await asyncio.to_thread(consumer.stop)
        self._judge_reports()
        return self._result

    # ------------------------------------------------------------------------------------------- messages

    async def _box(self, number: int) -> None:
        plan, device = self._plan, f"sim-{number}"
        dice, topics = random.Random(f"{plan.seed} {number}"), Topics(prefix=PREFIX, device=device)
        await asyncio.sleep(dice.uniform(0, plan.ramp_s))
        will = aiomqtt.Will(topics.state, _state(device, False, "lost"), qos=1, retain=True)
        client = aiomqtt.Client(
            "127.0.0.1", self._port, identifier=device, protocol=aiomqtt.ProtocolVersion.V5, will=will, keepalive=15
        )
        try:
            async with client:
                await client.publish(topics.state, _state(device, True, "connected"), qos=1, retain=True)
                await asyncio.gather(self._telemetry(client, topics, dice), self._alerts(client, topics, dice))
                await client.publish(topics.state, _state(device, False, "stopped"), qos=1, retain=True)
        except aiomqtt.MqttError as exc:
            self._result.failed.append(f"{device}: {exc}")

    async def _telemetry(self, client: aiomqtt.Client, topics: Topics, dice: random.Random) -> None:
        every_s = self._plan.telemetry_s / self._plan.faster
        await self._pause(dice.uniform(0, every_s))
        uplink = msgspec.structs.replace(UPLINK, device=topics.device)
        while not self._done.is_set():
            core = {"sent_ns": time.monotonic_ns(), "as_long_as_a_status": "x" * CORE_BYTES}
            said = Telemetry(device=topics.device, at="2026-01-01T00:00:00Z", core=core, uplink=uplink)
            await client.publish(topics.telemetry, msgspec.json.encode(said), qos=0)
            self._result.telemetry += 1
            await self._pause(every_s)

    async def _alerts(self, client: aiomqtt.Client, topics: Topics, dice: random.Random) -> None:
        if dice.random() > self._plan.busy:
            return
        seq = 0
        while not self._done.is_set():
            await self._pause(dice.expovariate(self._plan.faster / self._plan.alert_s))
            if self._done.is_set():
                return
            seq += 1
            now_ns = time.monotonic_ns()
            event = Alert(kind="polyp", priority=Priority.HIGH, text="polyp", captured_ns=now_ns, media_ns=now_ns)
            message = Message(
                id=str(ULID()), device=topics.device, boot=boot_id(), seq=seq, committed_at="2026-01-01T00:00:00Z",
                event=event, committed_ns=now_ns,
            )  # fmt: skip
            await client.publish(topics.of("alert"), msgspec.json.encode(message), qos=1)  # until it is confirmed
            self._result.promised.add(message.id)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._done.wait(), seconds)

    # -------------------------------------------------------------------------------------------- reports

    async def _uploads(self) -> None:
        """Spread over the time, whoever's turn it is."""
        plan, loop = self._plan, asyncio.get_running_loop()
        uploaders = sorted(set(self._dice.choices(range(plan.boxes), k=plan.uploads)))
        tokens = {number: self._farm.token(f"sim-{number}") for number in uploaders}
        await asyncio.sleep(plan.ramp_s)
        begun_s = time.monotonic()
        under_way = []
        for count in range(plan.uploads):
            await asyncio.sleep(max(0.0, begun_s + count * plan.seconds / plan.uploads - time.monotonic()))
            number = uploaders[count % len(uploaders)]
            under_way.append(loop.run_in_executor(self._pool, self._upload, number, count, tokens[number]))
        self._result.upload_s = list(await asyncio.gather(*under_way))

    def _upload(self, number: int, count: int, token: str) -> float:
        """Seconds that it took."""
        plan = self._plan
        record, pictures = procedure(f"sim-{number}", f"p-{count}", frames=plan.frames, size=plan.frame_bytes)
        begun_s = time.monotonic()
        try:
            end = upload(self._farm.url(), token, record, pictures)
        except LinkError as exc:
            self._result.failed.append(f"sim-{number}: {exc}")
        else:
            if not isinstance(end, Sent):
                self._result.failed.append(f"sim-{number}: {end}")
        return time.monotonic() - begun_s

    async def _drafted(self) -> None:
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s:
            with self._farm.database.read() as connection:
                drafts = connection.execute(select(func.count()).select_from(reports)).scalar_one()
            if drafts >= self._plan.uploads:
                return
            await asyncio.sleep(0.1)

    def _judge_reports(self) -> None:
        key = ("device", "procedure", "revision")
        same = (records.c[name] == reports.c[name] for name in key)
        with self._farm.database.read() as connection:
            self._result.records = connection.execute(select(func.count()).select_from(records)).scalar_one()
            self._result.drafts = connection.execute(select(func.count()).select_from(reports)).scalar_one()
            times = connection.execute(select(records.c.received_at, reports.c.at).where(*same))
            self._result.draft_s = [age(received) - age(at) for received, at in times]


def _told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """aiomqtt asks once more to write to a connection that paho has just closed."""
    exc = context.get("exception")
    if not (isinstance(exc, OSError) and exc.errno == errno.EBADF):
        loop.default_exception_handler(context)


def _state(device: str, online: bool, reason: str) -> bytes:
    said = State(
        device=device, online=online, reason=reason, software="sim", boot=boot_id(), connected_at="2026-01-01T00:00:00Z"
    )
    return msgspec.json.encode(said)


# -------------------------------------------------------------------------------------------------- the consumer


class Consumer:
    """Subscribed on entry."""

    def __init__(self, port: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ready, self._stop, self._out = spawn.Event(), spawn.Event(), spawn.Queue()
        self._process = spawn.Process(target=_listen, args=(port, self._ready, self._stop, self._out), daemon=True)

    def __enter__(self) -> Consumer:
        self._process.start()
        if not self._ready.wait(60):
            raise RuntimeError("the consumer does not come up")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def stop(self) -> Heard:
        """After what is under way has had time to come."""
        time.sleep(1.0)
        self._stop.set()
        heard: Heard = self._out.get(timeout=60)
        return heard


def _listen(port: int, ready: Event, stop: Event, out: Queue[Heard]) -> None:
    config = msgspec.convert({"host": "127.0.0.1", "port": port, "window": 1000}, UplinkConfig)
    connection, heard = Connection(config, load(config), "ward"), Heard()
    topics = Topics(prefix=PREFIX, device="+")
    connection.open()
    while not stop.is_set():
        for event in connection.step(0.05):
            now_ns = time.monotonic_ns()
            if isinstance(event, Connected):
                connection.subscribe((topics.of("alert"), topics.telemetry))
            elif isinstance(event, Subscribed):
                ready.set()
            elif isinstance(event, Received):
                _hear(heard, event, now_ns)
                connection.settle(event)
    out.put(heard)
    connection.close()


def _hear(heard: Heard, received: Received, now_ns: int) -> None:
    if received.topic.endswith("/alert"):
        message = msgspec.json.decode(received.payload, type=Message)
        heard.alerts[message.id] = heard.alerts.get(message.id, 0) + 1
        heard.alert_s.append((now_ns - message.committed_ns) / 1e9)
    else:
        said: dict[str, Any] = msgspec.json.decode(received.payload)
        heard.telemetry_s.append((now_ns - said["core"]["sent_ns"]) / 1e9)
