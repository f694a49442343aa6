"""What the model is asked and what it is to answer: the one place that knows how `server/words` does it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec.structs import replace

from edge.procedure import Record
from server.report import Section, Sentence


class Asked(NamedTuple):
    """`messages`: roles and parts, a picture's place marked `{"type": "image"}`. `pictures`: sha256, in that order."""

    messages: list[dict[str, Any]]
    pictures: list[str]


def asked(record: Record, language: str) -> Asked:
    """As an endpoint is asked for a draft."""
    facts = msgspec.json.encode({"times": record.times, "landmarks": record.landmarks, "findings": record.findings})
    frames = list(record.key_frames())
    parts: list[dict[str, str]] = [{"type": "text", "text": facts.decode()}, *({"type": "image"} for _ in frames)]
    told = [{"role": "system", "content": [{"type": "text", "text": language}]}, {"role": "user", "content": parts}]
    return Asked(told, [frame.sha256 for frame in frames])


def prompt_digest() -> str:
    """sha256 of the template that asks."""
    return hashlib.sha256(b"").hexdigest()


def answer(sentences: Iterable[Sentence]) -> str:
    """As an endpoint is to answer: by section, each sentence with what it cites."""
    sections: dict[str, list[dict[str, Any]]] = {section: [] for section in get_args(Section)}
    for sentence in sentences:
        sections[sentence.section].append({"cites": list(sentence.cites), "text": sentence.text})
    return msgspec.json.encode(sections).decode()


def supported(record: Record, sentences: Iterable[Sentence], language: str) -> list[bool]:
    """Would the check let it stand if the model had said it? A model that learns to say what no fact supports learns
    to invent."""
    return [bool(sentence.cites) for sentence in sentences]


def nameless(record: Record) -> Record:
    """Without box, number and date: all that a record has of when and where."""
    heading = replace(record.heading, device="box", boot="", started_at="1970-01-01T00:00:00Z", started_ns=0)
    return replace(record, procedure="0", heading=heading)
