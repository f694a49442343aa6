"""The updater with all its real parts (TUF over HTTP, RAUC, slots that are mounted), on a box that stands on a desk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.updating import Answer, UpdateStatus
from tests.support.static_server import StaticServer
from tools.ota import desk, releases
from tools.ota.desk import Desk
from tools.ota.releases import Publisher
from tools.ota.steady import Steady

pytestmark = pytest.mark.skipif(bool(desk.missing()), reason=desk.missing())
WITHIN_S = 60.0
TRIAL_S = 12.0


class Stage:
    """A publisher, its web server, and one box."""

    def __init__(self, folder: Path, server: StaticServer, publisher: Publisher) -> None:
        self.publisher, self.server = publisher, server
        self.installed = releases.thin_folder(folder / "installed", "1.0.0")
        self.box = Desk(
            folder / "box", publisher.ca, publisher.root, self.installed, desk.site(server.url), {}, TRIAL_S
        )
        self.steady = Steady(self.box.run_dir, "1.0.0")
        self.wrong = ""

    def wait(self, condition: Callable[[UpdateStatus], object], what: str, within_s: float = WITHIN_S) -> UpdateStatus:
        def so() -> bool:
            self.box.carry_out(lambda: self.steady.test(self.wrong))
            self.steady.runs(self.box.version)
            now = self.box.said()
            return now is not None and now.pid == self.box.processes["update"].pid and bool(condition(now))

        self.box.wait(so, what, within_s)
        said = self.box.said()
        assert said is not None
        return said

    def runs(self, version: str) -> UpdateStatus:
        return self.wait(lambda now: now.version == version and now.state == "idle", f"{version} runs and holds")

    def left(self, version: str) -> UpdateStatus:
        """It was tried, and another one runs again."""
        self.wait(lambda now: now.version == version, f"{version} runs")
        return self.wait(lambda now: now.version != version and now.state == "idle", f"{version} is left")

    def asked(self, *words: str, source: str = "") -> Answer:
        verb, *version = words
        id_ = self.box.ask(verb, *version, source=source)  # type: ignore[arg-type]
        self.wait(lambda _now: self.box.answer(id_), f"an answer to {verb}")
        found = self.box.answer(id_)
        assert found is not None
        return found

    @property
    def history(self) -> str:
        return "".join(file.read_text() for file in sorted((self.box.state / "history").glob("*.log")))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("publisher"))


@pytest.fixture
def stage(tmp_path: Path, published: Publisher) -> Iterator[Stage]:
    shutil.rmtree(published.folder)
    publisher = Publisher(published.folder)
    with StaticServer(publisher.repository) as server:
        made = Stage(tmp_path, server, publisher)
        try:
            with made.box:
                made.box.boot()
                yield made
        finally:
            made.steady.close()


def test_from_one_release_to_the_next_and_the_one_after(stage: Stage) -> None:
    stage.publisher.thin("1.1.0", changes="faster", clinical="none")
    stage.box.ask("check")
    said = stage.runs("1.1.0")
    assert (said.slot, said.trouble, stage.box.boot_state()["good"]) == ("A", "", ["A"])
    first = (stage.box.store / "A.img").read_bytes()
    stage.publisher.thin("1.2.0")
    stage.box.ask("check")
    assert stage.runs("1.2.0").slot == "B"
    assert (stage.box.store / "A.img").read_bytes() == first
    assert not list((stage.box.state / "download").glob("*"))
    for words in ("1.1.0 is offered", "is whole, as it was signed", "is in slot A", "1.1.0: held", "is in slot B"):
        assert words in stage.history
    assert stage.asked("check").words == "version 1.2.0 runs"


def test_a_slow_one_goes_back_and_is_tried_again_later(stage: Stage) -> None:
    stage.publisher.thin("1.1.0")
    stage.steady.later["1.1.0"] = {"fps": 3.0}
    stage.box.ask("check")
    said = stage.left("1.1.0")
    assert "frames a second, 25.0 before" in said.trouble
    assert said.refused == ()
    stage.asked("check")
    said = stage.wait(lambda now: now.obstacles, "it waits")
    assert said.obstacles[0].code == "rest"
