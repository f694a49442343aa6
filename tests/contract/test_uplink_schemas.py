"""The documents for outsiders: committed schemas are what the types say, and what is sent fits them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from jsonschema import Draft7Validator

from edge.messages import (
    Alert,
    AlertCleared,
    EffortChanged,
    EngineChanged,
    Event,
    FindingEnded,
    Judged,
    LandmarkReached,
    Message,
    Priority,
    ProcedureDropped,
    ProcedureEnded,
    ProcedureStarted,
    SignalChanged,
    ViewChanged,
)
from edge.types import SignalState, View
from edge.updating import Obstacle, Trial
from edge.uplink.retained import brief
from edge.uplink.wire import Ack, State, Telemetry, Update
from tests.support.statuses import UPLINK
from tests.support.updating import OFFER, done, said
from tools import schemas

DOCS = Path(schemas.ROOT) / "docs"
BOX = (1.0, 2.0, 3.5, 4.0)
EVENTS: list[Event] = [
    Alert(kind="polyp", priority=Priority.HIGH, text="", captured_ns=1, media_ns=1, track=3, box=BOX, score=0.5),
    Alert(kind="no_signal", priority=Priority.LOW, text="cable?", captured_ns=1, media_ns=1),
    AlertCleared(kind="polyp", captured_ns=1, media_ns=1),
    FindingEnded(
        label="polyp",
        track=1,
        procedure="p",
        captured_ns=1,
        media_ns=1,
        first_seen_ns=1,
        frames=9,
        best_score=1.0,
        best_box=BOX,
        best_seen_ns=1,
        scores=(0.5, 0.0, 1.0),
        scores_every_ns=250_000_000,
    ),
    LandmarkReached(
        kind="caecum", procedure="p", captured_ns=1, media_ns=9, first_seen_ns=8, after_ns=7, best_score=0.9
    ),
    Judged(
        kind="preparation",
        procedure="p",
        captured_ns=1,
        media_ns=1,
        label="adequate",
        views=4,
        unsure=1,
        shares={"adequate": 0.75, "inadequate": 0.25},
    ),
    Judged(kind="preparation", procedure="p", captured_ns=1, media_ns=1, label="", views=0, unsure=0, shares={}),
    ProcedureStarted(procedure="p", captured_ns=1, media_ns=1),
    ProcedureEnded(procedure="p", captured_ns=1, media_ns=1, duration_ns=5, findings=0),
    SignalChanged(state=SignalState.LIVE, previous=SignalState.STARTING, captured_ns=1, media_ns=1),
    ViewChanged(view=View.GOOD, previous=View.POOR, captured_ns=1, media_ns=1),
    EffortChanged(effort="half", previous="regions", reason="hot", captured_ns=1, media_ns=1),
    EngineChanged(state="building", detail="Building the engine", share=0.4, captured_ns=1, media_ns=1),
    EngineChanged(state="failed", detail="no room", captured_ns=1, media_ns=1),
    ProcedureDropped(procedure="p", reason="the spool was full", captured_ns=1, media_ns=1),
]
STATUS = msgspec.structs.replace(UPLINK, waiting={"a": "b"})
UPDATE = said(
    1,
    state="trying",
    offer=OFFER,
    obstacles=(Obstacle(code="disk", words="full"),),
    trouble="expired",
    refused=("1.4.0",),
    trial=Trial(until_s=1.5, healthy_s=0.5, needed_s=60.0, lacks="frames"),
    answers=done("looked"),
)
SAMPLES: list[tuple[str, Any]] = [
    *(
        ("message", Message(id="i", device="b", boot="x", seq=1, committed_at="2026-01-01T00:00:00Z", event=event))
        for event in EVENTS
    ),
    ("state", State(device="b", online=True, reason="connected", software="0", boot="x", connected_at="t")),
    ("telemetry", Telemetry(device="b", at="t", core={"any": [1]}, uplink=STATUS)),
    ("telemetry", Telemetry(device="b", at="t", core=None, uplink=STATUS)),
    ("telemetry", Telemetry(device="b", at="t", core=None, uplink=STATUS, update=brief(UPDATE))),
    ("update", Update(device="b", at="t", clock_trusted=True, alive=True, updater=UPDATE)),
    ("ack", Ack(id="i", consumer="ward")),
]


def load(name: str) -> dict[str, Any]:
    return json.loads((DOCS / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))


def faults(value: Any, schema: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft7Validator(schema).iter_errors(value)]


def test_committed_schemas_are_current() -> None:
    assert schemas.stale() == [], "run tools/schemas.py"


@pytest.mark.parametrize(("name", "sample"), SAMPLES, ids=lambda part: type(getattr(part, "event", part)).__name__)
def test_what_is_sent_fits(name: str, sample: Any) -> None:
    schema = load(name)
    payload = json.loads(msgspec.json.encode(sample))
    assert faults(payload, schema) == []
    assert faults({**payload, "extra": 1}, schema)
    assert faults({key: payload[key] for key in list(payload)[1:]}, schema)
    assert msgspec.json.decode(msgspec.json.encode(sample), type=schemas.PAYLOADS[name]) == sample


def test_every_event_has_a_sample() -> None:
    definitions = load("message")["definitions"]
    assert {type(event).__name__ for event in EVENTS} == {
        ref["$ref"].removeprefix("#/definitions/") for ref in definitions["Message"]["properties"]["event"]["anyOf"]
    }


def test_asyncapi_names_every_event() -> None:
    text = (DOCS / "asyncapi.yaml").read_text(encoding="utf-8")
    assert [event for event in EVENTS if f"`{event.__struct_config__.tag}`" not in text] == []


def test_asyncapi_refers_to_what_exists() -> None:
    """Every $ref resolves; addresses are the code's topics."""
    document = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
    assert document["asyncapi"] == "3.0.0"

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [ref for item in node for ref in references(item)]
        if not isinstance(node, dict):
            return []
        own = [node["$ref"]] if "$ref" in node else []
        return own + [ref for value in node.values() for ref in references(value)]

    for ref in references(document):
        if ref.startswith("#/"):
            place = document
            for key in ref.removeprefix("#/").split("/"):
                place = place[key]
        else:
            assert (DOCS / ref).is_file(), ref
    from edge.uplink.wire import Topics

    topics = Topics(prefix="endoedge", device="{device}")
    assert {channel["address"] for channel in document["channels"].values()} == {
        *(
            topics.of("alert"),
            topics.of("event"),
            topics.state,
            topics.telemetry,
            topics.update,
            topics.ack,
            topics.check,
        )
    }
