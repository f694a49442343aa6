"""Our SMP and CBOR against the reference package's, and against nonsense."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.console import cbor, smp
from edge.console.editor import FRAME_MOST
from edge.console.machine import OURS, STATUS, Machine
from tests.support import updating
from tests.support.console import desk

ON_A_BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=40) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=5,  # so never deeper than SMP's answers may be
)


@pytest.fixture
def reference() -> Any:
    """The package `smp`: what client programs are made of."""
    return SimpleNamespace(
        packet=pytest.importorskip("smp.packet"),
        os=pytest.importorskip("smp.os_management"),
        header=pytest.importorskip("smp.header"),
        error=pytest.importorskip("smp.error"),
        image=pytest.importorskip("smp.image_management"),
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(desk(tmp_path).box)


def told(machine: Machine, encoded: bytes) -> bytes:
    """The answer to a request's lines."""
    answers = [machine.take(line) for line in encoded.splitlines()]
    assert answers[:-1] == [None] * (len(answers) - 1)
    assert answers[-1] is not None
    return answers[-1][1]


def exchange(reference: Any, machine: Machine, request: Any, response: Any) -> Any:
    answer = told(machine, b"".join(reference.packet.encode(bytes(request))))
    decoder = reference.packet.decode()
    next(decoder)
    lines = answer.splitlines(keepends=True)
    assert max(map(len, lines)) <= FRAME_MOST
    for line in lines[:-1]:
        decoder.send(line)
    with pytest.raises(StopIteration) as done:
        decoder.send(lines[-1])
    return response.loads(done.value.value)


def read(group: int, command: int, body: dict[str, Any], sequence: int = 7) -> bytes:
    content = cbor.dumps(body)
    return bytes([0, 0, 0, len(content), 0, group, sequence, command]) + content


@ON_A_BUSY_MACHINE
@given(VALUES)
def test_cbor_comes_back(value: Any) -> None:
    assert cbor.loads(cbor.dumps(value)) == value


@ON_A_BUSY_MACHINE
@given(VALUES)
def test_cbor_is_the_reference_s(value: Any) -> None:
    cbor2 = pytest.importorskip("cbor2")
    assert cbor.dumps(value) == cbor2.dumps(value)


@ON_A_BUSY_MACHINE
@given(st.binary(max_size=200))
def test_cbor_of_nonsense_is_a_value_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        cbor.loads(data)


def test_cbor_cannot_be_made_to_eat_memory() -> None:
    with pytest.raises(ValueError, match="too early"):
        cbor.loads(b"\x9b" + b"\xff" * 8)
    with pytest.raises(ValueError, match="nested"):
        cbor.loads(b"\x81" * 100 + b"\x00")


def test_echo(reference: Any, machine: Machine) -> None:
    said = "over several lines: " + "x" * 300
    answer = exchange(reference, machine, reference.os.EchoWriteRequest(d=said), reference.os.EchoWriteResponse)
    assert answer.r == said


def test_parameters_and_information(reference: Any, machine: Machine) -> None:
    request = reference.os.MCUMgrParametersReadRequest(sequence=200)
    answer = exchange(reference, machine, request, reference.os.MCUMgrParametersReadResponse)
    assert (answer.buf_size, answer.buf_count, answer.header.sequence) == (smp.PACKET_MOST, 1, 200)
    request = reference.os.OSApplicationInfoReadRequest(format="ns")
    answer = exchange(reference, machine, request, reference.os.OSApplicationInfoReadResponse)
    assert answer.output == "EndoEdge theatre-3"


def test_what_needs_a_login_is_not_there(reference: Any, machine: Machine) -> None:
    answer = exchange(reference, machine, reference.os.ResetWriteRequest(), reference.os.OSManagementErrorV1)
    assert answer.rc == reference.error.MGMT_ERR.ENOTSUP


def test_the_status_in_pieces(tmp_path: Path) -> None:
    box = desk(tmp_path).box
    (box.run_dir / "status.json").write_text(json.dumps({"state": "live", "filler": "x" * 3000}))
    machine, whole, sha = Machine(box), b"", b""
    while True:
        raw = told(machine, smp.lines(read(OURS, STATUS, {"off": len(whole)})))
        packet = raw.replace(b"\n", b"")
        assert packet.startswith(b"\x06\x09")
        assembler = smp.Assembler()
        (answer,) = [done for line in raw.splitlines() if (done := assembler.take(line))]
        body: Any = cbor.loads(answer[8:])
        whole, sha = whole + body["data"], body["sha"]
        if len(whole) == body["len"]:
            break
        (box.run_dir / "status.json").unlink(missing_ok=True)  # the pieces are of one moment all the same
    assert hashlib.sha256(whole).digest() == sha
    assert json.loads(whole)["core"]["filler"] == "x" * 3000


@pytest.mark.parametrize("body", [{"off": -1}, {"off": True}, {"off": "x"}, {"off": 10**6}])
def test_a_wrong_question_is_refused(machine: Machine, body: dict[str, Any]) -> None:
    answer = told(machine, smp.lines(read(OURS, STATUS, body)))
    assembler = smp.Assembler()
    (packet,) = [done for line in answer.splitlines() if (done := assembler.take(line))]
    assert cbor.loads(packet[8:]) == {"rc": smp.INVALID}


def test_an_answer_is_never_answered(machine: Machine) -> None:
    """Two boxes on one line would talk to each other for ever."""
    answer = told(machine, smp.lines(read(OURS, STATUS, {})))
    assert [machine.take(line) for line in answer.splitlines()] == [None] * len(answer.splitlines())


@ON_A_BUSY_MACHINE
@given(st.binary(max_size=700), st.integers(0, 2**32))
def test_packets_survive_their_lines_and_damage_is_seen(packet: bytes, seed: int) -> None:
    packet = packet.ljust(8, b"\0")
    lines = smp.lines(packet).splitlines()
    assembler = smp.Assembler()
    assert [assembler.take(line) for line in lines] == [None] * (len(lines) - 1) + [packet]
    chance = random.Random(seed)
    number = chance.randrange(len(lines))
    damaged = bytearray(lines[number])
    damaged[chance.randrange(2, len(damaged))] ^= 1 << chance.randrange(7)
    lines[number] = bytes(damaged)
    whole = [done for line in lines if (done := assembler.take(line)) is not None]
    assert whole in ([], [packet])  # the packet: when the bit was one of base64's padding


def test_the_releases_that_are_known(reference: Any, tmp_path: Path) -> None:
    machine = Machine(desk(tmp_path).box)
    asked, answered = reference.image.ImageStatesReadRequest, reference.image.ImageStatesReadResponse
    assert exchange(reference, machine, asked(), answered).images == []
    updating.write(tmp_path / "run", updating.said(1, slot="B", state="installed", offer=updating.OFFER))
    runs, waits = exchange(reference, machine, asked(), answered).images
    assert (runs.slot, runs.version, runs.active, runs.confirmed) == (1, "1.4.1", True, True)
    assert (waits.slot, waits.version, waits.pending, waits.active) == (0, "1.4.2", True, None)
