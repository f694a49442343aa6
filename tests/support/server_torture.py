"""Kill web processes and workers at random while boxes hand procedures over, and count what became of them.

    result = torture(folder, boxes=8, procedures=24, kills=4, seed=7)
    assert result.ok, result

What is checked at the end: every record is there, byte for byte as it was sent, and no other; every report is there,
with one version each; every key frame can be read and is the one that was sent; the audit's chain holds and tells of
each record once; nothing waits.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import func, select

from edge.procedure import Record
from edge.uplink import reports as uplink
from server import audit, reports
from server.store.tables import audit as audit_lines
from server.store.tables import records, undrafted
from server.store.tables import reports as report_rows
from tests.support.boxes import SimBox
from tests.support.farm import Farm

LOOK_S = 0.2  # how often a box looks into its spool here


@dataclass
class Result:
    seed: int
    kills: dict[str, int]
    seconds: float
    promised: int  # procedures that the boxes were told have been taken
    records: int
    drafts: int
    frames: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.promised > 0 and not (self.lost or self.doubled or self.wrong)

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items())) or "none"
        told = [*(f"lost: {one}" for one in self.lost), *(f"doubled: {one}" for one in self.doubled), *self.wrong]
        return (
            f"{self.promised} procedures handed over, {self.records} records, {self.drafts} reports, "
            f"{self.frames} key frames, in {self.seconds:.0f} s (seed {self.seed}; killed: {kills}): "
            f"{len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.wrong)} otherwise wrong"
        ) + "".join(f"\n{one}" for one in told[:20])


def torture(
    folder: Path,
    *,
    boxes: int,
    procedures: int,
    kills: int,
    seed: int,
    database: str = "",
    webs: int = 1,
    workers: int = 1,
    within_s: float = 600.0,
) -> Result:
    """`procedures`: of all boxes together."""
    uplink.LOOK_S, before_s = LOOK_S, uplink.LOOK_S
    begun_s = time.monotonic()
    try:
        with Farm(folder / "farm", database, webs=webs) as farm:
            for number in range(webs):
                farm.web(number)
            for number in range(workers):
                farm.worker(number)
            for number in range(webs):
                farm.wait_up(number)
            fleet = list(_fleet(farm, folder, boxes, seed))
            killed = _run(farm, fleet, procedures, kills, random.Random(seed), begun_s + within_s)
            took_s = time.monotonic() - begun_s
            return _judged(farm, fleet, Result(seed, killed, took_s, sum(box.sent for box in fleet), 0, 0, 0))
    finally:
        uplink.LOOK_S = before_s


def _fleet(farm: Farm, folder: Path, boxes: int, seed: int) -> Iterator[SimBox]:
    for number in range(boxes):
        device = f"box-{seed}-{number}"
        box = SimBox(folder / device, device, farm.token(device), farm.url(number % len(farm.ports)))
        box.start()
        yield box


def _run(
    farm: Farm, fleet: list[SimBox], procedures: int, kills: int, dice: random.Random, until_s: float
) -> dict[str, int]:
    """Until all is sent and drafted. A kill each time that so many more have been sent."""
    killed: dict[str, int] = {}
    at = sorted(dice.uniform(0, 0.95) * procedures for _ in range(kills))
    try:
        for number in range(procedures):
            fleet[number % len(fleet)].lay(f"p-{number}", frames=dice.randint(0, 4), size=8_000)
        while True:
            done = sum(box.sent for box in fleet)
            while at and done >= at[0]:
                at.pop(0)
                name = dice.choice(sorted(farm.processes))
                _killed(farm, name)
                killed[name] = killed.get(name, 0) + 1
                time.sleep(dice.uniform(0, 0.3))
            if done >= procedures and not at and not _undrafted(farm):
                return killed
            ended = [name for name, process in farm.processes.items() if process.poll() is not None]
            if ended or time.monotonic() > until_s:
                said = "\n".join(box.said() for box in fleet if box.sent < len(box.laid))
                raise AssertionError(
                    f"not done in time, {done} sent; ended by themselves: {ended}\n{said}\n{farm.log()[-4000:]}"
                )
            time.sleep(0.02)
    finally:
        for box in fleet:
            box.close()


def _killed(farm: Farm, name: str) -> None:
    kind, _, number = name.partition(" ")
    farm.kill(name)
    (farm.web if kind == "web" else farm.worker)(int(number))


def _undrafted(farm: Farm) -> int:
    with farm.database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(undrafted)).scalar_one())


# ----------------------------------------------------------------------------------------------- the judgement


def _judged(farm: Farm, fleet: list[SimBox], result: Result) -> Result:
    for box in fleet:
        for name, body in box.laid.items():
            _judge_one(farm, reports.Key(box.device, name, 1), body, result)
    _judge_rest(farm, sum(len(box.laid) for box in fleet), result)
    return result


def _judge_one(farm: Farm, key: reports.Key, body: bytes, result: Result) -> None:
    with farm.database.read() as connection:
        which = (records.c[name] == value for name, value in key._asdict().items())
        found = connection.execute(select(records.c.body).where(*which)).scalar()
        versions = reports.history(connection, key)
    if found is None or not versions:
        result.lost.append(f"{key}: {'no record' if found is None else 'no report'}")
        return
    result.records, result.drafts = result.records + 1, result.drafts + 1
    if found != body:
        result.wrong.append(f"{key}: its record is not as it was sent")
    if len(versions) != 1:
        result.doubled.append(f"{key}: {[version.what for version in versions]}")
    for frame in msgspec.json.decode(body, type=Record).key_frames():
        picture = farm.keep.get(frame.sha256)
        if picture is None or hashlib.sha256(picture).hexdigest() != frame.sha256:
            result.lost.append(f"{key}: key frame {frame.sha256}")
        result.frames += 1


def _judge_rest(farm: Farm, wanted: int, result: Result) -> None:
    verdict = audit.verify(farm.database)
    if verdict.wrong:
        result.wrong.append(f"audit line {verdict.wrong}: {verdict.why}")
    with farm.database.read() as connection:
        rows = connection.execute(select(func.count()).select_from(report_rows)).scalar_one()
        taken = select(audit_lines.c.device, audit_lines.c.procedure).where(audit_lines.c.what == "record.taken")
        lines = list(connection.execute(taken))
    if rows != wanted:
        result.doubled.append(f"{rows} versions of {wanted} reports")
    if len(lines) != wanted or len(set(lines)) != wanted:
        result.doubled.append(f"{len(lines)} lines of the audit tell of {wanted} records")
