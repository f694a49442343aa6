"""The rows of `endoedge-server check`: what a start needs, and whom the server would have to reach.

No table is made, no report is sent, no model is asked for a sentence.
"""

from __future__ import annotations

import datetime
import shutil
import ssl
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from cryptography import x509
from sqlalchemy import func, select

from edge.console.report import Row
from edge.errors import EdgeError
from server.config import Config, Draft, Http
from server.errors import ServerError
from server.export.send import Pacs, Web
from server.keep import Keep
from server.store.database import Database
from server.store.migrate import behind
from server.store.tables import accounts
from server.worker import seats_taken

EARLY_DAYS = 30  # before a certificate ends
ROOM_LEAST = 1 << 30  # bytes
_WITHIN_S = 10.0
_SHOWN = 200  # characters of what others say


def rows(config: Config, database: Database, keep: Keep) -> Iterator[Row]:
    """In the order in which they matter."""
    yield from _database(config, database)
    yield _tried("key frames", lambda: _keep(config, keep))
    yield _tried("listener", lambda: _listener(config.http))
    yield _tried("model", lambda: _model(config.draft))
    export = config.export
    yield _tried("pacs", lambda: _pacs(export.pacs))
    yield _tried("stow", lambda: _stow(export.stow))
    yield _tried("fhir", lambda: _fhir(export.fhir))


def _tried(what: str, ask: Callable[[], Row]) -> Row:
    try:
        return ask()
    except (EdgeError, OSError, httpx.HTTPError) as exc:
        return Row(what, False, str(exc)[:_SHOWN] or type(exc).__name__)


# ------------------------------------------------------------------------------------------------ this machine


def _database(config: Config, database: Database) -> Iterator[Row]:
    try:
        late = behind(database)
    except ServerError as exc:
        yield Row("database", False, str(exc))
        return
    if late:
        new = database.is_sqlite and "form none" in late
        said = f"{database.name}: `endoedge-server serve` makes it" if new else late
        yield Row("database", None if new else False, said, "" if new else "`endoedge-server migrate`")
        return
    yield Row("database", True, f"{database.name}: as this program knows it")
    numbers = seats_taken(database, config.folder / "workers")
    yield Row("workers", True if numbers else None, f"{len(numbers)} run now" if numbers else "none runs now")
    with database.read() as connection:
        query = select(accounts.c.role, func.count()).where(accounts.c.disabled.is_(False)).group_by(accounts.c.role)
        found = {row.role: row[1] for row in connection.execute(query)}
    said = ", ".join(f"{count} {role}" for role, count in sorted(found.items())) or "none"
    yield Row("accounts", bool(found), said, "" if found else "`endoedge-server account create`")


def _keep(config: Config, keep: Keep) -> Row:
    keep.prove()
    free = shutil.disk_usage(config.folder).free
    room = f"{free / (1 << 30):.1f} GiB free in {config.folder}"
    return Row("key frames", free >= ROOM_LEAST, f"can be written; {room}", "" if free >= ROOM_LEAST else "make room")


def _listener(http: Http) -> Row:
    where = f"{http.address}:{http.port}"
    if not http.certificate:
        by = f"a proxy at {', '.join(http.proxies)} does TLS" if http.proxies else "this machine alone"
        return Row("listener", True, f"{where}: plain http, {by}")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(http.certificate, http.key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions have another name for the end, older ones only this one
        found = x509.load_pem_x509_certificate(Path(http.certificate).read_bytes())
        ends = found.not_valid_after.replace(tzinfo=datetime.timezone.utc)
    left = ends - datetime.datetime.now(datetime.timezone.utc)
    said = f"{where}: certificate of {found.subject.rfc4514_string()} ends in {left.days} days"
    return Row("listener", left.days >= 0, said, "renew it" if left.days < EARLY_DAYS else "")


# ---------------------------------------------------------------------------------------------------- others


def _client(ca: str, headers: dict[str, str], auth: tuple[str, str] | None = None) -> httpx.Client:
    context = ssl.create_default_context(cafile=ca or None)
    return httpx.Client(verify=context, headers=headers, auth=auth, timeout=_WITHIN_S)


def _model(draft: Draft) -> Row:
    if not draft.url:
        return Row("model", None, "none: the template words drafts")
    key = Path(draft.key_file).read_text(encoding="utf-8").strip() if draft.key_file else ""
    with _client(draft.ca, {"Authorization": f"Bearer {key}"} if key else {}) as client:
        answer = client.get(f"{draft.url}/models")
    if answer.status_code != 200:
        return Row("model", False, f"{draft.url}/models answers {answer.status_code}", "draft.url, draft.key_file")
    try:
        names = [str(one["id"]) for one in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return Row("model", False, f"{draft.url}/models does not answer as an OpenAI-compatible API", "draft.url")
    good = not draft.model or draft.model in names
    return Row("model", good, f"{draft.url} has {', '.join(names)}"[:_SHOWN], "" if good else "draft.model")


def _pacs(pacs: Pacs | None) -> Row:
    """By C-ECHO."""
    if pacs is None:
        return Row("pacs", None, "none configured")
    from pynetdicom.ae import ApplicationEntity
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    entity = ApplicationEntity(ae_title=pacs.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _WITHIN_S
    entity.add_requested_context(Verification)
    tls = (ssl.create_default_context(cafile=pacs.ca or None), pacs.host) if pacs.tls else None
    association = entity.associate(pacs.host, pacs.port, ae_title=pacs.called, tls_args=tls)
    name = f"{pacs.called} at {pacs.host}:{pacs.port}"
    try:
        if not association.is_established:
            if association.is_alive():
                association.join(_WITHIN_S)  # only then it surely knows that it was rejected
            said = "refuses us" if association.is_rejected else "does not answer"
            return Row("pacs", False, f"{name} {said} (as {pacs.calling})", "export.pacs, or the PACS's list of us")
        status = association.send_c_echo().get("Status")
    finally:
        association.release() if association.is_established else association.abort()
    return Row("pacs", status == 0, f"{name} answers C-ECHO" + ("" if status == 0 else f" with {status}"))


def _stow(web: Web | None) -> Row:
    """By a search: what takes pictures by STOW answers QIDO, too, or says that it does not."""
    if web is None:
        return Row("stow", None, "none configured")
    answer = _get(web, "/studies?limit=1", "application/dicom+json")
    good = answer.status_code < 400 or answer.status_code in (404, 405, 501)
    return Row("stow", good, f"{web.url} answers {answer.status_code}", "" if good else "export.stow")


def _fhir(web: Web | None) -> Row:
    if web is None:
        return Row("fhir", None, "none configured")
    answer = _get(web, "/metadata", "application/fhir+json")
    try:
        found = answer.json() if answer.status_code == 200 else {}
        release = str(found.get("fhirVersion", "")) if found.get("resourceType") == "CapabilityStatement" else ""
    except (ValueError, AttributeError):
        release = ""
    if not release:
        return Row(
            "fhir", False, f"{web.url}/metadata answers {answer.status_code}, as no FHIR server does", "export.fhir"
        )
    good = release.startswith("4.")
    return Row("fhir", good, f"{web.url}: FHIR {release}", "" if good else "expected R4 (4.0) or R4B (4.3)")


def _get(web: Web, path: str, kind: str) -> httpx.Response:
    headers = {"Accept": kind} | ({"Authorization": f"Bearer {web.token}"} if web.token else {})
    with _client(web.ca, headers, (web.user, web.password) if web.user else None) as client:
        return client.get(web.url + path)
