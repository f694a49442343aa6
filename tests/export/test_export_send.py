"""To a real Orthanc by C-STORE and STOW-RS; to a FHIR server that keeps what is PUT; and to those that refuse."""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("highdicom", reason="the server extra is not installed")
pytest.importorskip("pynetdicom", reason="the server extra is not installed")
pytest.importorskip("httpx", reason="the server extra is not installed")

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, EncapsulatedPDFStorage

from server.export import dicom, fhir, send
from server.export.case import Case
from server.export.send import Pacs, SendError, Sent, Web
from tests.support import orthanc
from tests.support.broker import Authority, free_port, missing_tools
from tests.support.hospital import Hospital, serving

PDF = b"%PDF-1.7 of a test"
needs_orthanc = pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing())


@pytest.fixture(scope="module")
def instances(signed: Case) -> list[Dataset]:
    return dicom.instances(signed, PDF)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orthanc.Orthanc]:
    with orthanc.Orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


# ------------------------------------------------------------------------------------------ a real PACS


def here(pacs: orthanc.Orthanc, **values: Any) -> Pacs:
    return Pacs(host="127.0.0.1", port=pacs.dicom, **({"called": orthanc.TITLE} | values))


def kept(pacs: orthanc.Orthanc) -> dict[str, str]:
    """SOP Instance UID → Orthanc's id."""
    return {pacs.get(f"/instances/{one}/tags?simplify")["SOPInstanceUID"]: one for one in pacs.get("/instances")}


@needs_orthanc
def test_once_however_often_and_either_way(pacs: orthanc.Orthanc, instances: list[Dataset], draft: Case) -> None:
    everything = [*dicom.instances(draft, PDF), *instances]
    send.store(here(pacs), everything)
    send.store(here(pacs), everything)
    send.stow(Web(url=f"{pacs.url}/dicom-web"), everything)
    found = kept(pacs)
    assert set(found) >= {str(one.SOPInstanceUID) for one in everything}
    assert len(found) == len(pacs.get("/instances"))
    assert len(pacs.get("/studies")) == 2  # the draft's is of no patient
    for instance in everything:
        stored = pydicom.dcmread(io.BytesIO(pacs.get(f"/instances/{found[str(instance.SOPInstanceUID)]}/file")))
        assert stored == pydicom.dcmread(io.BytesIO(dicom.written(instance)))


@needs_orthanc
def test_stow_alone(pacs: orthanc.Orthanc, signed: Case) -> None:
    other = msgspec.structs.replace(signed.report, signatures=(signed.report.signatures[0],) * 2)
    instances = dicom.instances(Case(signed.record, other, signed.frames, institution=signed.institution), PDF)
    sent = send.stow(Web(url=f"{pacs.url}/dicom-web"), instances)
    assert sent == Sent(stored=len(instances), present=0)
    assert {str(one.SOPInstanceUID) for one in instances} <= set(kept(pacs))


@needs_orthanc
def test_the_pacs_shows_the_picture(pacs: orthanc.Orthanc, instances: list[Dataset]) -> None:
    send.store(here(pacs), instances)
    number = kept(pacs)[str(instances[0].SOPInstanceUID)]
    assert pacs.get(f"/instances/{number}/preview").startswith(b"\x89PNG")
    assert pacs.get(f"/instances/{kept(pacs)[str(instances[-2].SOPInstanceUID)]}/pdf").startswith(b"%PDF-1.7")


@needs_orthanc
def test_another_title_is_refused(pacs: orthanc.Orthanc, instances: list[Dataset]) -> None:
    with pytest.raises(
        SendError, match=r"PACS OTHER at 127\.0\.0\.1:[0-9]+ refused us as ENDOEDGE: Called AE title"
    ) as caught:
        send.store(here(pacs, called="OTHER"), instances)
    assert not caught.value.again


def test_one_with_too_many_callers(instances: list[Dataset]) -> None:
    entity = AE()
    entity.add_supported_context(ComprehensiveSRStorage)
    entity.maximum_associations = 1
    server = entity.start_server(("127.0.0.1", 0), block=False)
    caller = AE()
    caller.add_requested_context(ComprehensiveSRStorage)
    first = caller.associate("127.0.0.1", server.server_address[1])
    try:
        there = Pacs(host="127.0.0.1", port=server.server_address[1], called="TEST", timeout_s=5)
        with pytest.raises(SendError, match="Local limit exceeded") as caught:
            send.store(there, instances[-1:])
        assert (caught.value.again, caught.value.away) == (True, True)
    finally:
        first.release()
        server.shutdown()


# ---------------------------------------------------------------------------------- one that misbehaves


@pytest.fixture
def answering() -> Iterator[Callable[[int | None], Pacs]]:
    """A PACS that gives one answer to every C-STORE, and takes no pictures. None: it hangs up."""
    servers = []

    def start(status: int | None) -> Pacs:
        def answer(event: evt.Event) -> int:
            if status is None:
                event.assoc.abort()
            return status or 0

        entity = AE()
        entity.add_supported_context(ComprehensiveSRStorage)
        entity.add_supported_context(EncapsulatedPDFStorage)
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
        servers.append(server)
        return Pacs(host="127.0.0.1", port=server.server_address[1], called="TEST", timeout_s=5)

    yield start
    for server in servers:
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "sent"), [(0x0000, Sent(2, 0)), (0x0111, Sent(0, 2)), (0xB000, Sent(2, 0)), (0xB007, Sent(2, 0))]
)
def test_what_counts_as_stored(
    answering: Callable[[int | None], Pacs], instances: list[Dataset], status: int, sent: Sent
) -> None:
    assert send.store(answering(status), instances[-2:]) == sent


@pytest.mark.parametrize(("status", "again"), [(0xA700, True), (0xA900, False), (0xC001, False), (0x0124, False)])
def test_what_is_refused(
    answering: Callable[[int | None], Pacs], instances: list[Dataset], status: int, again: bool
) -> None:
    with pytest.raises(SendError, match=f"refused Encapsulated PDF Storage .*: {status:04X}H") as caught:
        send.store(answering(status), instances[-2:])
    assert caught.value.again is again


def test_it_hangs_up(answering: Callable[[int | None], Pacs], instances: list[Dataset]) -> None:
    with pytest.raises(SendError, match="did not answer within 5 s") as caught:
        send.store(answering(None), instances[-1:])
    assert caught.value.again


def test_it_takes_no_pictures(answering: Callable[[int | None], Pacs], instances: list[Dataset]) -> None:
    with pytest.raises(SendError, match="takes no VL Endoscopic Image Storage in JPEG Baseline"):
        send.store(answering(0), instances)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pynetdicom 3.0 drops one that cannot connect
def test_nobody_is_there(instances: list[Dataset]) -> None:
    with pytest.raises(SendError, match="does not answer") as caught:
        send.store(Pacs(host="127.0.0.1", port=free_port(), called="TEST", timeout_s=2), instances)
    assert caught.value.again


@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")  # pynetdicom 3.0, as above
def test_encrypted_and_to_whom_we_trust(instances: list[Dataset], tmp_path: Path) -> None:
    if reason := missing_tools():
        pytest.skip(reason)
    authority = Authority(tmp_path)
    identity = authority.issue("pacs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    entity = AE()
    entity.add_supported_context(ComprehensiveSRStorage)
    kept = [(evt.EVT_C_STORE, lambda _event: 0)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=kept, ssl_context=context)
    there = Pacs(host="127.0.0.1", port=server.server_address[1], called="TEST", tls=True, timeout_s=5)
    try:
        trusting = msgspec.structs.replace(there, ca=str(authority.ca))
        assert send.store(trusting, instances[-1:]) == Sent(1, 0)
        with pytest.raises(SendError, match="does not answer"):
            send.store(there, instances[-1:])
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("key", "value"), [("port", 0), ("called", ""), ("called", "A" * 17), ("calling", "A\\B"), ("timeout_s", 0)]
)
def test_a_pacs_that_cannot_be(key: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({"host": "h", "called": "PACS", key: value}, Pacs)


# ------------------------------------------------------------------------------------------------- HTTP


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    with serving() as running:
        yield running


def test_a_draft_becomes_the_report(hospital: Hospital, draft: Case, signed: Case) -> None:
    for case in (draft, draft, signed, signed):
        send.transact(hospital.web, fhir.bundle(case, PDF))
    reports = [one for one in hospital.kept.values() if one["resourceType"] == "DiagnosticReport"]
    assert [one["status"] for one in reports] == ["final"]
    statuses = [one["status"] for one in hospital.kept.values() if one["resourceType"] == "Observation"]
    assert sorted(set(statuses)) == ["cancelled", "final"]
    assert set(hospital.asked) == {("/base", "Bearer secret")}


@pytest.mark.parametrize(
    ("answer", "why", "again", "away"),
    [
        ((422, b'{"resourceType": "OperationOutcome"}'), "answered 422: .*OperationOutcome", False, False),
        ((401, b"who?"), "answered 401: who?", False, False),
        ((302, b""), "answered 302", False, False),
        ((429, b""), "answered 429", True, True),
        ((500, b"a bug"), "answered 500: a bug", True, False),
        ((503, b"later"), "answered 503: later", True, True),
        ((200, b"<html>"), "expected JSON, got '<html>'", False, False),
        ((200, b"{}"), "answered 0 of", False, False),
        ((200, b"[]"), "answered 0 of", False, False),
    ],
)
def test_a_bundle_is_refused(
    hospital: Hospital, signed: Case, answer: tuple[int, bytes], why: str, again: bool, away: bool
) -> None:
    hospital.answer = answer
    with pytest.raises(SendError, match=why) as caught:
        send.transact(hospital.web, fhir.bundle(signed, PDF))
    assert (caught.value.again, caught.value.away) == (again, away)


def test_no_server(signed: Case) -> None:
    with pytest.raises(SendError, match="refused") as caught:
        send.transact(Web(url=f"http://127.0.0.1:{free_port()}", timeout_s=2), fhir.bundle(signed))
    assert caught.value.again
    assert caught.value.away


def failed(*pairs: tuple[Dataset, int]) -> bytes:
    items = [
        {send._FAILED_UID: {"vr": "UI", "Value": [str(one.SOPInstanceUID)]}, send._REASON: {"vr": "US", "Value": [why]}}
        for one, why in pairs
    ]
    return json.dumps({send._FAILED: {"vr": "SQ", "Value": items}}).encode()


def test_stow_and_what_was_there(hospital: Hospital, instances: list[Dataset]) -> None:
    hospital.answer = 202, failed((instances[0], send.DUPLICATE))
    assert send.stow(hospital.web, instances) == Sent(stored=len(instances) - 1, present=1)
    hospital.answer = 409, failed(*((one, send.DUPLICATE) for one in instances))
    assert send.stow(hospital.web, instances) == Sent(stored=0, present=len(instances))
    assert hospital.asked[0][0] == "/base/studies"


@pytest.mark.parametrize(("reason", "again"), [(0xA700, True), (0xC000, False)])
def test_stow_refused(hospital: Hospital, instances: list[Dataset], reason: int, again: bool) -> None:
    hospital.answer = 202, failed((instances[0], send.DUPLICATE), (instances[1], reason))
    with pytest.raises(SendError, match=rf"refused {instances[1].SOPInstanceUID} \({reason:04X}H\)") as caught:
        send.stow(hospital.web, instances)
    assert caught.value.again is again


def test_stow_conflict_without_a_word(hospital: Hospital, instances: list[Dataset]) -> None:
    hospital.answer = 409, b""
    with pytest.raises(SendError, match="refused"):
        send.stow(hospital.web, instances)


def test_a_file_of_certificates_that_is_none(tmp_path: Path, signed: Case) -> None:
    with pytest.raises(SendError, match="expected a file of certificates"):
        send.transact(Web(url="https://127.0.0.1:1", ca=str(tmp_path / "ca.pem")), fhir.bundle(signed))


@pytest.mark.parametrize("url", ["ftp://x", "http://x/", "x", "http://x y"])
def test_an_address_that_cannot_be(url: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="url"):
        msgspec.convert({"url": url}, Web)
