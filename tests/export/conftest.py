"""One procedure in the software colon, as a draft and signed."""

from __future__ import annotations

import pytest

from edge.procedure import Record
from server.export.case import Case
from tools import export_example


@pytest.fixture(scope="session")
def example() -> tuple[Record, dict[str, bytes]]:
    return export_example.example()


@pytest.fixture(scope="session")
def draft(example: tuple[Record, dict[str, bytes]]) -> Case:
    return Case(example[0], export_example.draft(), example[1], institution="Example Hospital")


@pytest.fixture(scope="session")
def signed(example: tuple[Record, dict[str, bytes]]) -> Case:
    record, frames = example
    return Case(record, export_example.signed(), frames, export_example.PATIENT, "Example Hospital")
