"""Drafts by real workers and a language model behind a socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from server import reports
from server.reports import Key, Version
from tests.support import vlm
from tests.support.boxes import procedure
from tests.support.farm import Farm
from tests.support.vlm import Asked, Reply, Vlm


class Model:
    """Parrots, but not before it may."""

    def __init__(self) -> None:
        self.may = threading.Event()

    def __call__(self, asked: Asked) -> Reply:
        self.may.wait(60)
        return vlm.parrot(asked)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def endpoint(model: Model) -> Iterator[Vlm]:
    with vlm.serving(model) as running:
        yield running
        model.may.set()


@pytest.fixture
def farm(database_url: str, endpoint: Vlm, tmp_path: Path) -> Iterator[Farm]:
    more = f'[draft]\nurl = "{endpoint.url}"\nmodel = "m"\nat_once = 2\nframes_most = 0\ntimeout_s = 50\n'
    with Farm(tmp_path / "farm", database_url, more=more) as made:
        yield made


def owe(farm: Farm, count: int) -> list[Key]:
    made = [procedure("box-1", f"p-{number}", frames=2)[0] for number in range(count)]
    with farm.database.write() as connection:
        for one in made:
            reports.keep_record(connection, one, msgspec.json.encode(one))
    return [reports.key_of(one) for one in made]


def history(farm: Farm, key: Key) -> list[Version]:
    with farm.database.read() as connection:
        return reports.history(connection, key)


def test_a_slow_model_holds_up_no_template_and_a_kill_costs_no_words(farm: Farm, endpoint: Vlm, model: Model) -> None:
    farm.worker(0)
    keys = owe(farm, 6)
    farm.wait(lambda: all(len(history(farm, key)) == 1 for key in keys), "all have their template")
    farm.wait(lambda: len(endpoint.asked) == 2, "it is asked twice at once")
    farm.kill("worker 0")
    farm.worker(0)
    farm.wait(lambda: len(endpoint.asked) == 4, "and by the next worker, at the step that was not done")
    assert [len(history(farm, key)) for key in keys] == [1] * 6
    model.may.set()
    farm.wait(lambda: all(len(history(farm, key)) == 2 for key in keys), "all are worded")
    assert len(endpoint.asked) == 2 + 6
    for key in keys:
        first, second = history(farm, key)
        assert (first.what, first.report.drafted.by) == ("drafted", "template")
        assert (second.what, second.report.drafted.by, second.report.drafted.fallback) == ("worded", "model", "")
        assert any(sentence.by == "model" for sentence in second.report.standing())
