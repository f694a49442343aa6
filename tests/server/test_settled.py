from __future__ import annotations

import msgspec
import pytest

from edge.procedure import Record
from server.patient import Patient
from server.report import Report
from server.settled import settle


def test_what_is_decoded_in_threads_is_learnt_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is imported by whoever needs it first."""
    learnt: set[object] = set()
    decoder = msgspec.json.Decoder

    def told(kind: object) -> object:
        learnt.add(kind)
        return decoder(kind)

    monkeypatch.setattr(msgspec.json, "Decoder", told)
    settle()
    from server.words.endpoint import Completion

    assert {Record, Report, Patient, Completion} <= learnt
