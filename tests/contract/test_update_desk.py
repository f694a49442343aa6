"""The updater with all its real parts (TUF over HTTP, RAUC, slots that are mounted), on a box that stands on a desk."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.static_server import Fault, StaticServer
from tests.support.update_stage import Stage
from tools.ota import desk, releases
from tools.ota.releases import Publisher

pytestmark = pytest.mark.skipif(bool(desk.missing()), reason=desk.missing())
Raise = Callable[[bool], Stage]


@pytest.fixture
def raised(tmp_path: Path) -> Iterator[Raise]:
    """A stage; `consent`: a person has to agree."""
    publisher = Publisher(tmp_path / "publisher")
    made: list[Stage] = []
    with StaticServer(publisher.repository) as server:

        def begin(consent: bool) -> Stage:
            made.append(Stage(tmp_path, server, publisher, consent))
            made[0].box.boot()
            made[0].wait(lambda now: now.state == "idle", "the updater")
            return made[0]

        try:
            yield begin
        finally:
            for stage in made:
                stage.box.close()
                stage.steady.close()


@pytest.fixture
def stage(raised: Raise) -> Stage:
    return raised(False)


@pytest.fixture
def careful(raised: Raise) -> Stage:
    return raised(True)


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


def test_as_a_person_types_it(careful: Stage) -> None:
    said = careful.command("status").stdout
    assert said.startswith("runs       1.0.0 (as it was installed), channel stable\nstate      idle\n")
    assert "checked    not yet" in said
    assert careful.command("history").stdout == "nothing was done yet\n"
    careful.publisher.thin("1.1.0", changes="faster\nand lighter", clinical="none", content="model")
    assert careful.command("check").stdout == "1.1.0 is offered\n"
    asked = careful.command("install")
    assert asked.returncode == 0
    assert "offered    1.1.0, 0 MiB, new in it: model\nchanges    faster\n           and lighter\n" in asked.stdout
    assert asked.stdout.endswith("To agree to it: endoedge update install 1.1.0\n")
    wrong = careful.command("install", "1.0.9")
    assert (wrong.returncode, wrong.stderr.splitlines()[-1]) == (1, "1.0.9 is not offered; 1.1.0 is")
    done = careful.command("install", "1.1.0")
    assert done.returncode == 0, done.stderr
    careful.runs("1.1.0")
    history = careful.command("history").stdout
    assert re.search(r"Z \(clock not trusted\)  \w+ +update install 1\.1\.0: asked for\n", history)
    assert "agrees to 1.1.0" in history
    assert "1.1.0: held" in history
    assert re.search(r"\n\d+ lines hold, 1 to \d+, head [0-9a-f]{64}\n$", history)
    assert careful.command("check").stdout == "version 1.1.0 runs\n"
    back = careful.command("rollback")
    assert (back.returncode, back.stdout) == (0, "goes back to the release before\n")
    assert careful.runs("1.0.0").refused == ("1.1.0",)


def test_from_a_stick_with_the_same_trust(careful: Stage, tmp_path: Path) -> None:
    careful.publisher.thin("1.1.0")
    stick, false = tmp_path / "stick", tmp_path / "false"
    shutil.copytree(careful.publisher.repository, stick)
    careful.server.faults["*"] = Fault(status=503)
    stranger = Publisher(tmp_path / "stranger")
    stranger.thin("6.6.6")
    shutil.copytree(stranger.repository, false)
    refused = careful.command("check", "--from", str(false))
    assert refused.returncode == 1
    assert "refused" in refused.stderr
    nothing = careful.command("check", "--from", str(tmp_path))
    assert nothing.returncode == 1
    assert nothing.stderr.endswith(f"{tmp_path}: no repository: expected a folder `metadata` in it\n")
    assert careful.command("check", "--from", str(stick)).stdout == "1.1.0 is offered\n"
    careful.command("install", "1.1.0", "--from", str(stick))
    assert careful.runs("1.1.0").slot == "A"


def test_without_an_updater_it_is_said(careful: Stage) -> None:
    careful.box.end("update")
    (careful.box.run_dir / "update.json").unlink()
    for verb in ("status", "check"):
        done = careful.typed(verb)
        assert done.returncode == 1
        assert done.stderr == "endoedge update: the updater does not run: systemctl status endoedge-update\n"


@pytest.mark.parametrize("words", [("confirm", "1.1.0"), ("rollback", "--from", "/")])
def test_what_makes_no_sense_is_usage(careful: Stage, words: tuple[str, ...]) -> None:
    assert careful.typed(*words).returncode == 2


def test_a_worse_model_is_refused_for_good(stage: Stage) -> None:
    stage.wrong = "polyp: off by at most 9 (allowed 1.16)"
    stage.publisher.thin("1.1.0")
    stage.box.ask("check")
    said = stage.left("1.1.0")
    assert said.refused == ("1.1.0",)
    assert said.trouble == "the self-test failed: golden vectors: polyp: off by at most 9 (allowed 1.16)"
    stage.wrong = ""
    stage.publisher.thin("1.1.1")
    stage.box.ask("check")
    stage.runs("1.1.1")


def test_an_updater_that_hangs_is_left_by_the_system(stage: Stage) -> None:
    """The release's own gate is silent: the time of the trial is the system's."""

    def silent(folder: Path) -> None:
        (folder / f"venv/lib/python{releases.PYTHON}/site-packages/hang.pth").write_text(
            "import time; time.sleep(60)\n"
        )

    stage.publisher.thin("1.1.0", silent)
    stage.box.ask("check")
    stage.box.wait(lambda: stage.carried_out() and stage.box.version == "1.1.0", "1.1.0 runs")
    said = stage.runs("1.0.0")
    assert (said.refused, stage.box.boot_state()["good"]) == ((), [])
    assert said.trouble == "it did not hold in time"
