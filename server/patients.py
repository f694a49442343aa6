"""Whose procedure it is. Joined when a report is signed, never before; who was joined last counts."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, select

from server.clock import now
from server.listing import words_of
from server.patient import Patient
from server.store.database import hold
from server.store.tables import joined


def join(connection: Connection, device: str, procedure: str, patient: Patient, author: str) -> int:
    """The number of this joining. In the transaction that signs; who calls audits."""
    hold(connection, f"joined {device} {procedure}")
    of = (joined.c.device == device, joined.c.procedure == procedure)
    number = (connection.execute(select(func.max(joined.c.number)).where(*of)).scalar() or 0) + 1
    row = {"device": device, "procedure": procedure, "number": number, "author": author, "at": now()}
    connection.execute(joined.insert(), {**row, "body": msgspec.json.encode(patient), "words": words_of(patient)})
    return number


def of(connection: Connection, device: str, procedure: str) -> Patient | None:
    """As was said last."""
    which = (joined.c.device == device, joined.c.procedure == procedure)
    query = select(joined.c.body).where(*which).order_by(joined.c.number.desc()).limit(1)
    body = connection.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=Patient)
