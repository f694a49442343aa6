"""The lists, and a procedure in the software colon."""

from __future__ import annotations

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
    return export_example.example()


@pytest.fixture(scope="session")
def record(example: tuple[Record, dict[str, bytes]]) -> Record:
    return example[0]
