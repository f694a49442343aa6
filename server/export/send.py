"""To the hospital's systems: DICOM by C-STORE or STOW-RS, FHIR by a transaction.

Sending twice is harmless: UIDs and ids are fixed, and `already stored` is success. Nothing is tried again here; an
error says whether that makes sense, and a durable job does it.
"""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import httpx
from msgspec import Meta

from edge.errors import EdgeError
from edge.types import Struct

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom.association import Association

DUPLICATE = 0x0111  # "SOP Instance exists already" (PS3.7, C.4.2)
_OUT_OF_RESOURCES = 0xA700  # of A7xx: the one failure that passes (PS3.4, B.2.3)
_TRANSIENT = 2  # a rejection's result (PS3.8, 9.3.4)
_FAILED, _FAILED_UID, _REASON = "00081198", "00081155", "00081197"  # tags of a STOW-RS response (PS3.18, 10.5.3)
_BOUNDARY = "endoedge-7b1f8c0e2d5a4d36"
_AWAY = (429, 502, 503, 504)  # said of the service, or by a proxy before it
_SHOWN = 300  # characters of an answer in an error
Title = Annotated[str, Meta(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")]
Seconds = Annotated[float, Meta(gt=0, le=600)]


class SendError(EdgeError):
    """Not taken. `again`: it may be later, with nothing changed. `away`: nor would anything else be, now."""

    def __init__(self, message: str, *, again: bool, away: bool = False) -> None:
        super().__init__(message)
        self.again, self.away = again, away


class Pacs(Struct, frozen=True, kw_only=True):
    """`[export.pacs]`."""

    host: Annotated[str, Meta(min_length=1)]
    port: Annotated[int, Meta(ge=1, le=65535)] = 104
    called: Title  # its application entity's
    calling: Title = "ENDOEDGE"
    tls: bool = False
    ca: str = ""  # a file of certificates; "" the system's
    timeout_s: Seconds = 30.0


class Web(Struct, frozen=True, kw_only=True):
    """`[export.stow]`, `[export.fhir]`: `url` is the service's base. A token, or a user with a password."""

    url: Annotated[str, Meta(pattern=r"^https?://[^\s]+[^/\s]\Z")]
    token: str = ""
    user: str = ""
    password: str = ""
    ca: str = ""
    timeout_s: Seconds = 30.0


class Sent(NamedTuple):
    stored: int
    present: int  # it was there

    def __str__(self) -> str:
        return f"{self.stored} stored, {self.present} were there"


# --------------------------------------------------------------------------------------------- C-STORE


def store(pacs: Pacs, instances: Sequence[Dataset]) -> Sent:
    """In one association, in order. Raises SendError at the first that is refused; those before it are stored."""
    with _association(pacs, instances) as association:
        present = sum(_stored(pacs, association, instance) for instance in instances)
    return Sent(stored=len(instances) - present, present=present)


@contextlib.contextmanager
def _association(pacs: Pacs, instances: Sequence[Dataset]) -> Iterator[Association]:
    from pynetdicom.ae import ApplicationEntity

    entity = ApplicationEntity(ae_title=pacs.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = pacs.timeout_s
    entity.connection_timeout = pacs.timeout_s
    for kind in sorted({_kind(instance) for instance in instances}):
        entity.add_requested_context(*kind)
    tls = (trusted(pacs.ca), pacs.host) if pacs.tls else None
    association = entity.associate(pacs.host, pacs.port, ae_title=pacs.called, tls_args=tls)
    try:
        if association.is_rejected:
            answer = association.acceptor.primitive
            why = answer.reason_str if answer is not None else "no reason given"
            busy = answer is not None and answer.result == _TRANSIENT
            raise SendError(f"{_name(pacs)} refused us as {pacs.calling}: {why}", again=busy, away=busy)
        if not association.is_established:
            raise SendError(f"{_name(pacs)} does not answer", again=True, away=True)
        taken = {(context.abstract_syntax, context.transfer_syntax[0]) for context in association.accepted_contexts}
        for instance in instances:
            if _kind(instance) not in taken:
                kind, syntax = instance.SOPClassUID, instance.file_meta.TransferSyntaxUID
                raise SendError(f"{_name(pacs)} takes no {kind.name} in {syntax.name}", again=False)
        yield association
    finally:
        if association.is_established:
            association.release()
        else:
            association.abort()


def _kind(instance: Dataset) -> tuple[str, str]:
    return str(instance.SOPClassUID), str(instance.file_meta.TransferSyntaxUID)


def _stored(pacs: Pacs, association: Association, instance: Dataset) -> bool:
    """True: it was there."""
    answer = association.send_c_store(instance)
    if "Status" not in answer:
        raise SendError(f"{_name(pacs)} did not answer within {pacs.timeout_s:g} s", again=True)
    status = int(answer.Status)
    if status == DUPLICATE or status == 0 or status & 0xF000 == 0xB000:  # Bxxx: stored, with a warning
        return status == DUPLICATE
    comment = answer.get("ErrorComment") or "no reason given"
    full = status & 0xFF00 == _OUT_OF_RESOURCES
    raise SendError(
        f"{_name(pacs)} refused {instance.SOPClassUID.name} {instance.SOPInstanceUID}: {status:04X}H, {comment}",
        again=full,
        away=full,
    )


def _name(pacs: Pacs) -> str:
    return f"PACS {pacs.called} at {pacs.host}:{pacs.port}"


# -------------------------------------------------------------------------------------------- STOW-RS, FHIR


def stow(web: Web, instances: Sequence[Dataset]) -> Sent:
    """In one request. Raises SendError."""
    from server.export.dicom import written  # pydicom is large: configurations are read without it

    parts = [
        b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (_BOUNDARY.encode(), written(instance))
        for instance in instances
    ]
    kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
    body = b"".join(parts) + b"--%s--\r\n" % _BOUNDARY.encode()
    answer = _post(web, "/studies", body, {"Content-Type": kind, "Accept": "application/dicom+json"})
    if answer.status_code not in (200, 202, 409):
        raise _refused(web, answer)
    failed = {
        _value(one, _FAILED_UID): _value(one, _REASON) for one in _json(web, answer).get(_FAILED, {}).get("Value", [])
    }
    refused = {uid: reason for uid, reason in failed.items() if reason != DUPLICATE}
    if refused or (answer.status_code == 409 and not failed):
        reasons = ", ".join(f"{uid} ({reason:04X}H)" for uid, reason in refused.items()) or answer.text[:_SHOWN]
        raise SendError(
            f"{web.url} refused {reasons}",
            again=any(reason & 0xFF00 == _OUT_OF_RESOURCES for reason in refused.values()),
        )
    return Sent(stored=len(instances) - len(failed), present=len(failed))


def _value(item: Mapping[str, Any], tag: str) -> Any:
    return item[tag]["Value"][0]


def transact(web: Web, bundle: Mapping[str, Any]) -> None:
    """A FHIR transaction: all of it or nothing. Raises SendError."""
    kind = "application/fhir+json"
    body = json.dumps(bundle).encode()
    answer = _post(web, "", body, {"Content-Type": kind, "Accept": kind})
    if answer.status_code not in (200, 201):
        raise _refused(web, answer)
    taken = [str(one.get("response", {}).get("status", "")) for one in _json(web, answer).get("entry", [])]
    if len(taken) != len(bundle["entry"]) or not all(status.startswith("2") for status in taken):
        raise SendError(f"{web.url} answered {len(taken)} of {len(bundle['entry'])} entries: {taken}", again=False)


def _post(web: Web, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    if web.token:
        headers["Authorization"] = f"Bearer {web.token}"
    auth = (web.user, web.password) if web.user else None
    trusts = trusted(web.ca) if web.url.startswith("https:") else False
    try:
        return httpx.post(
            web.url + path, content=body, headers=headers, auth=auth, verify=trusts, timeout=web.timeout_s
        )
    except httpx.HTTPError as exc:
        away = isinstance(exc, (httpx.ConnectError, httpx.ConnectTimeout))
        raise SendError(f"{web.url}: {str(exc) or type(exc).__name__}", again=True, away=away) from exc


def _json(web: Web, answer: httpx.Response) -> dict[str, Any]:
    """{}: an empty answer."""
    try:
        found = answer.json() if answer.content.strip() else {}
    except ValueError as exc:
        raise SendError(f"{web.url}: expected JSON, got {answer.text[:_SHOWN]!r}", again=False) from exc
    return found if isinstance(found, dict) else {}


def _refused(web: Web, answer: httpx.Response) -> SendError:
    status = answer.status_code
    return SendError(
        f"{web.url} answered {status}: {answer.text[:_SHOWN]}",
        again=status == 408 or status in _AWAY or status >= 500,
        away=status in _AWAY,
    )


def trusted(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as exc:
        raise SendError(f"{ca}: expected a file of certificates: {exc}", again=False) from exc
