"""A report's `Case` from where its parts are kept: the database and the key frames."""

from __future__ import annotations

from server import deliveries, reports
from server.config import Config
from server.errors import RefusedError
from server.export.case import Case
from server.keep import Keep
from server.reports import Key
from server.store.database import Database


def case_of(
    database: Database, keep: Keep, config: Config, key: Key, number: int = 0, patient: int | None = None
) -> Case:
    """`number`: of the version, 0 the newest. `patient`: `joined.number` of whose it is, None the newest; nobody's
    as long as it is a draft. Raises RefusedError (404) for a report that is not there, ExportError for a key frame that
    is missing or damaged, ServerError."""
    with database.read() as connection:
        record = reports.record(connection, key)
        found = reports.version(connection, key, number) if number else reports.newest(connection, key)
        if record is None or found is None:
            missing = f"no version {number}" if number and record else "not written yet" if record else "no record"
            raise RefusedError(f"report of {key}: {missing}", 404)
        whose = None
        if found.report.state != "draft":
            joined = deliveries.patient_number(connection, key) if patient is None else patient
            whose = deliveries.patient(connection, key, joined) if joined else None
    pictures = {frame.sha256: keep.get(frame.sha256) for frame in record.key_frames()}
    frames = {sha256: jpeg for sha256, jpeg in pictures.items() if jpeg is not None}
    return Case(record, found.report, frames, whose, config.institution, found.what == "corrected")
