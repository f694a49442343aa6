"""The lists, and a procedure in the software colon."""

from __future__ import annotations

import msgspec
import pytest

from edge.procedure import Record
from server.words import checklist
from server.words.checklist import Lists
from tools import export_example


@pytest.fixture(scope="session")
def lists() -> Lists:
    return checklist.load()


@pytest.fixture(scope="session")
def example() -> tuple[Record, dict[str, bytes]]:
    """With scores of its own, so that a sentence can be written out here."""
    record, frames = export_example.example()
    findings = [msgspec.structs.replace(one, best_score=0.9 + one.track / 100) for one in record.findings]
    return msgspec.structs.replace(record, findings=tuple(findings)), frames


@pytest.fixture(scope="session")
def record(example: tuple[Record, dict[str, bytes]]) -> Record:
    return example[0]
