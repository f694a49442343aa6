"""What is owed to the hospital's systems: a row for each version of a report and each system, put there with the
version itself. Who sends them: `server.deliver`. All take a connection of `Database.read` or `.write`; callers audit.

Of a report only the newest version is owed: what waited before it is `superseded`. An older one that is being sent
holds the newer one back, so that it cannot come after it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from edge.types import Struct
from server import reports
from server.clock import later, now
from server.config import Config
from server.errors import RefusedError
from server.export.case import study_of
from server.export.send import Pacs, Web
from server.patient import Patient
from server.report import Report
from server.reports import Key
from server.store.database import hold
from server.store.tables import deliveries, joined

Target = Literal["pacs", "stow", "fhir"]
State = Literal["waiting", "sending", "sent", "refused", "superseded", "withdrawn"]
TARGETS: tuple[Target, ...] = get_args(Target)
BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)  # before a try, by how many there were; then the last
LAG_S = 5.0  # so much later than the one that found a system away, the others for it are tried
SAID_MOST = 500  # characters


class Row(NamedTuple):
    """Which delivery. `at`: since when it is due; another try is another row of this kind."""

    device: str
    procedure: str
    revision: int
    number: int
    target: str
    at: str

    @property
    def key(self) -> Key:
        return Key(self.device, self.procedure, self.revision)

    def __str__(self) -> str:
        return f"version {self.number} of the report of {self.key} to {self.target}"


class Delivery(Struct, frozen=True, kw_only=True):
    """As people see it."""

    device: str
    procedure: str
    revision: int
    number: int  # of the report's version
    target: str
    state: str
    patient: int
    tries: int
    said: str
    at: str


class Astray(Struct, frozen=True, kw_only=True):
    """What went out under a patient that was the wrong one, and nobody can take back from here."""

    delivery: Delivery
    where: str
    patient: str  # ID, as that system has it
    study: str  # DICOM UID

    def __str__(self) -> str:
        return f"to be withdrawn by hand in {self.where}: study {self.study} of patient ID {self.patient}"


# --------------------------------------------------------------------------------------------------- owing


def configured(config: Config) -> dict[Target, Pacs | Web]:
    found = {target: getattr(config.export, target) for target in TARGETS}
    return {target: system for target, system in found.items() if system is not None}


def named(config: Config, target: str) -> str:
    """For people."""
    system = getattr(config.export, target, None)
    if isinstance(system, Pacs):
        return f"PACS {system.called} at {system.host}:{system.port}"
    return system.url if isinstance(system, Web) else f"{target}, which is configured no more"


def owe(connection: Connection, config: Config, key: Key, number: int, report: Report | None = None) -> int:
    """How many systems get this version (`report`: its content, where it is at hand). In the version's transaction."""
    if report is None:
        found = reports.version(connection, key, number)
        if found is None:
            raise RefusedError(f"report of {key}: no version {number}", 404)
        report = found.report
    signed = report.state != "draft"
    if not signed and not config.export.drafts:
        return 0
    older = and_(_of(key), deliveries.c.number < number, deliveries.c.state.in_(("waiting", "refused")))
    connection.execute(update(deliveries).where(older).values(_superseded()))
    fixed = {"number": number, "state": "waiting", "patient": patient_number(connection, key) if signed else 0}
    rows = [{**key._asdict(), **fixed, "target": target, "at": now()} for target in configured(config)]
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(deliveries)
    if rows:
        connection.execute(insert.on_conflict_do_nothing(), rows)
    return len(rows)


def patient_number(connection: Connection, key: Key) -> int:
    """Of the patient whose procedure this is now; 0 nobody's yet."""
    ours = and_(joined.c.device == key.device, joined.c.procedure == key.procedure)
    return connection.execute(select(func.max(joined.c.number)).where(ours)).scalar() or 0


def patient(connection: Connection, key: Key, number: int) -> Patient | None:
    ours = and_(joined.c.device == key.device, joined.c.procedure == key.procedure, joined.c.number == number)
    body = connection.execute(select(joined.c.body).where(ours)).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=Patient)


# -------------------------------------------------------------------------------------------------- sending


def due(connection: Connection, most: int) -> list[Row]:
    """Oldest first, for each system `most`. What is said to be in hand is among them: nobody begins it twice."""
    older = deliveries.alias("older")
    waits = exists().where(*_same(older), older.c.number < deliveries.c.number, older.c.state == "sending")
    wanted = select(*(deliveries.c[name] for name in Row._fields)).where(
        deliveries.c.state.in_(("waiting", "sending")), deliveries.c.at <= now(), ~waits
    )
    found: list[Row] = []
    for target in TARGETS:
        query = wanted.where(deliveries.c.target == target).order_by(deliveries.c.at).limit(most)
        found += [Row(*row) for row in connection.execute(query)]
    return found


def begin(connection: Connection, row: Row) -> int | None:
    """From here on something of it may have arrived. The patient's number under which it goes. None: it is not due any
    more; another try, or a newer version, is."""
    newer = select(deliveries.c.number).where(
        _of(row.key), deliveries.c.target == row.target, deliveries.c.number > row.number
    )
    if connection.execute(newer.limit(1)).scalar() is not None:
        connection.execute(update(deliveries).where(_open(row)).values(_superseded()))
        return None
    begun = {"state": "sending", "tries": deliveries.c.tries + 1}
    if not connection.execute(update(deliveries).where(_open(row)).values(begun)).rowcount:
        return None
    return int(connection.execute(select(deliveries.c.patient).where(_this(row))).scalar_one())


def settle(connection: Connection, row: Row, state: State, said: str, *, away: bool = False) -> State | None:
    """What came of a try that was begun; None when somebody else has said so already. `away`: the whole system is, so
    that what waits for it too need not find that out one by one. A newer version's row takes over from one that did not
    arrive."""
    tries = connection.execute(select(deliveries.c.tries).where(_open(row))).scalar_one_or_none()
    if tries is None:
        return None
    if state != "sent" and _newer(connection, row):
        state = "superseded"
    wait_s = BACKOFF_S[min(tries, len(BACKOFF_S)) - 1]
    at = later(wait_s) if state == "waiting" else now()
    told = {"state": state, "said": said[:SAID_MOST], "at": at}
    connection.execute(update(deliveries).where(_open(row)).values(told))
    if state == "sent":
        _again_after(connection, row)
    elif away:
        hold(connection, f"deliveries to {row.target}")  # two that put off the same rows would wait for each other
        others = and_(deliveries.c.target == row.target, deliveries.c.state == "waiting", deliveries.c.at < at)
        connection.execute(update(deliveries).where(others).values(at=later(wait_s + LAG_S)))
    return state


def _again_after(connection: Connection, row: Row) -> None:
    """A worker that was taken for dead has sent an older version after the newer one: the newer one goes once more."""
    overtaken = and_(
        _of(row.key),
        deliveries.c.target == row.target,
        deliveries.c.number > row.number,
        deliveries.c.state == "sent",
    )
    connection.execute(update(deliveries).where(overtaken).values(state="waiting", at=now()))


def _newer(connection: Connection, row: Row) -> bool:
    same = and_(_of(row.key), deliveries.c.target == row.target, deliveries.c.number > row.number)
    return connection.execute(select(deliveries.c.number).where(same).limit(1)).scalar() is not None


# --------------------------------------------------------------------------------------------- for people


def of(connection: Connection, key: Key) -> list[Delivery]:
    """Of one report, newest version first."""
    query = select(deliveries).where(_of(key)).order_by(deliveries.c.number.desc(), deliveries.c.target)
    return [Delivery(**row) for row in connection.execute(query).mappings()]


def unfinished(connection: Connection, most: int = 1000) -> list[Delivery]:
    """Not sent yet, and those that a person has to look at; oldest first."""
    states = deliveries.c.state.in_(("waiting", "sending", "refused"))
    query = select(deliveries).where(states).order_by(deliveries.c.at).limit(most)
    return [Delivery(**row) for row in connection.execute(query).mappings()]


def retry(connection: Connection) -> list[Delivery]:
    """What was refused is tried again, since somebody has seen to it."""
    query = select(deliveries).where(deliveries.c.state == "refused").order_by(deliveries.c.at)
    found = [Delivery(**row) for row in connection.execute(query).mappings()]
    connection.execute(update(deliveries).where(deliveries.c.state == "refused").values(state="waiting", at=now()))
    return found


def astray(connection: Connection, config: Config, key: Key) -> list[Astray]:
    """A FHIR server is not among them: there a corrected report takes the place of the wrong one."""
    current = patient_number(connection, key)
    right = patient(connection, key, current)
    record = reports.record(connection, key)
    if record is None:
        return []
    found = []
    for delivery in of(connection, key):
        was = patient(connection, key, delivery.patient) if delivery.patient not in (0, current) else None
        left = delivery.state != "withdrawn" and delivery.tries > 0
        if was is None or was == right or not left or delivery.target == "fhir":
            continue
        where, study = named(config, delivery.target), study_of(record, was)
        found.append(Astray(delivery=delivery, where=where, patient=was.id, study=study))
    return found


def all_astray(connection: Connection, config: Config) -> list[Astray]:
    """Over all procedures whose patient was corrected."""
    corrected = select(joined.c.device, joined.c.procedure).where(joined.c.number > 1).distinct().subquery()
    same = and_(deliveries.c.device == corrected.c.device, deliveries.c.procedure == corrected.c.procedure)
    query = select(deliveries.c.device, deliveries.c.procedure, deliveries.c.revision).join(corrected, same).distinct()
    keys = sorted(Key(*row) for row in connection.execute(query))
    return [one for key in keys for one in astray(connection, config, key)]


def withdrawn(connection: Connection, config: Config, key: Key) -> list[Astray]:
    """Somebody has taken back, by hand, what went out under a wrong patient: it is not asked for any more."""
    found = [one for one in astray(connection, config, key) if one.delivery.state != "sending"]
    for one in found:
        row = Row(*(getattr(one.delivery, name) for name in Row._fields))
        connection.execute(update(deliveries).where(_this(row)).values(state="withdrawn", at=now()))
    return found


# ------------------------------------------------------------------------------------------------ which rows


def _of(key: Key) -> ColumnElement[bool]:
    return and_(*(deliveries.c[name] == value for name, value in key._asdict().items()))


def _same(other: object) -> list[ColumnElement[bool]]:
    """Of the same report to the same system."""
    return [other.c[name] == deliveries.c[name] for name in (*Key._fields, "target")]  # type: ignore[attr-defined]


def _this(row: Row) -> ColumnElement[bool]:
    return and_(_of(row.key), deliveries.c.number == row.number, deliveries.c.target == row.target)


def _open(row: Row) -> ColumnElement[bool]:
    """This very try of it."""
    return and_(_this(row), deliveries.c.at == row.at, deliveries.c.state.in_(("waiting", "sending")))


def _superseded() -> dict[str, str]:
    return {"state": "superseded", "said": "a newer version was owed", "at": now()}
