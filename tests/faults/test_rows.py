"""Every row of `tools/faults.sh`, a few rounds of each; and that its runner sees what a row says."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tools.faults import __main__ as command
from tools.faults import report, rows, session
from tools.faults.rows import Row

TIMES = 1
SEED = random.SystemRandom().randrange(1, 1_000_000)


@pytest.mark.parametrize("name", rows.names())
def test_a_few_rounds(name: str) -> None:
    """By the command itself, and with its control: a careless product has to be seen."""
    if why := rows.load(name).missing():
        pytest.skip(why)
    command = [sys.executable, "-m", "tools.faults", name, "--times", str(TIMES), "--control", "4", "--seed", str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f": {TIMES} of {TIMES} (seed {SEED}; " in done.stdout


@pytest.fixture(autouse=True)
def _evidence_in_a_folder_of_ours(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    tmp_path_factory.getbasetemp()  # where it was, for the other tests
    with tempfile.TemporaryDirectory(prefix="f-") as folder:  # not `tmp_path`: names of sockets have to be short
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield


def test_promises_are_looked_for_by_hand(tmp_path: Path) -> None:
    """As after a real power cut: a writer, its words on another machine, and a folder from which something is gone."""
    command = [sys.executable, "-m", "tools.faults.writer", "engines", str(tmp_path), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(10)]
        writer.kill()
    look = [sys.executable, "-m", "tools.faults.check", "engines", str(tmp_path)]
    done = subprocess.run(look, input="".join([*said, "engine 0 half"]), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "all that 10 lines promised is there\n")
    for plan in (tmp_path / "engines").glob("*.plan"):
        plan.write_bytes(b"")
    done = subprocess.run(look, input="".join(said), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "damaged" in done.stdout


def row_that(
    says: list[str], careless: list[str] | None = None, why: str = "", breaks: str = "", figures: str | None = None
) -> Row:
    def play(folder: Path, times: int, dice: random.Random) -> Generator[str, None, str | None]:
        (folder / "evidence").touch()
        yield from says
        if breaks:
            raise OSError(breaks)
        return figures

    control = None if careless is None else lambda *_: (word for word in careless)
    return Row("made_up", "something made up", "it holds", 3, lambda: why, play, control)  # type: ignore[arg-type]


def played(row: Row, times: int = 3) -> session.Result:
    return session.play(row, times, 4711, lambda *_: None)


def test_a_row_that_held_is_n_of_n_and_leaves_nothing() -> None:
    result = played(row_that(["", "", ""]))
    assert result.held
    assert str(result).startswith("something made up: 3 of 3 (seed 4711; ")
    assert result.kept is None


@pytest.mark.parametrize(
    ("row", "good", "problem"),
    [
        (row_that(["", "alert 7 is lost", ""]), 2, "round 2: alert 7 is lost"),
        (row_that([""], breaks="no disk"), 1, "round 2: broke off: OSError: no disk"),
        (row_that([""]), 1, "ended after 1 of 3 rounds"),
        (row_that(["", "", ""], careless=["", ""]), 3, "control: a product made careless lost nothing"),
        (row_that(["", "", ""], breaks="no disk"), 3, "round 4: broke off: OSError: no disk"),
    ],
    ids=["lost", "broke off", "too short", "blind", "broke off at the end"],
)
def test_a_row_that_did_not_hold_says_why_and_keeps_its_folder(row: Row, good: int, problem: str) -> None:
    result = played(row)
    assert not result.held
    assert result.good == good
    assert problem in result.problems[0]
    assert result.kept is not None
    assert (result.kept / "row" / "evidence").exists()


def test_what_a_careless_product_lost_is_said() -> None:
    result = played(row_that(["", "", ""], careless=["lost", "", "lost"]))
    assert result.held
    assert "a careless writer was seen in 2 of 3" in str(result)


def test_figures_of_a_row_are_said_and_on_the_page() -> None:
    result = played(row_that(["", "", ""], figures="back after 7 s"))
    assert result.held
    assert str(result).endswith(" s); back after 7 s")
    assert "| **3 of 3**; back after 7 s |" in report.page([result], 9)


def test_a_group_stands_for_its_rows() -> None:
    meant = rows.meant(["killed_core", "ota", "killed_core"])
    assert meant[0] == "killed_core"
    assert meant[1:] == [name for name in rows.names() if name.startswith("update_")]
    assert len(meant) > 4
    assert rows.meant([]) == rows.names()


def test_the_dice_of_a_row_do_not_depend_on_the_others() -> None:
    seen: list[float] = []

    def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
        seen.append(dice.random())
        yield ""

    row = row_that([])._replace(play=play)  # type: ignore[arg-type]
    for _ in range(2):
        session.play(row, 1, 5, lambda *_: None)
    session.play(row._replace(name="another"), 1, 5, lambda *_: None)
    assert seen[0] == seen[1] != seen[2]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The command over rows that are made up."""
    made = {
        "good": row_that(["", "", ""])._replace(name="good"),
        "bad": row_that(["", "lost", ""])._replace(name="bad"),
        "absent": row_that([], why="needs the moon")._replace(name="absent"),
    }
    monkeypatch.setattr(rows, "names", lambda: sorted(made))
    load = rows.load
    monkeypatch.setattr(rows, "load", lambda name: made.get(name) or load(name))
    return command


@pytest.mark.parametrize(("names", "code"), [(["good"], 0), (["good", "bad"], 1), (["absent"], 0)])
def test_exit_codes(only: ModuleType, names: list[str], code: int) -> None:
    assert only.main(names) == code


def test_a_row_that_failed_is_named(only: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert only.main(["bad", "good", "--seed", "9"]) == 1
    said = capsys.readouterr().out
    assert "round 2: lost" in said
    assert "something made up: 2 of 3 (seed 9; " in said
    assert "1 of 2 rows held, 0 skipped; not: bad" in said


def test_rows_may_be_played_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    names = ["killed_uplink", "killed_console"]
    if why := [why for name in names if (why := rows.load(name).missing())]:
        pytest.skip(why[0])
    assert command.main([*names, "--times", "1", "--jobs", "2", "--seed", str(SEED)]) == 0
    assert "2 of 2 rows held, 0 skipped" in capfd.readouterr().out


def test_an_unknown_row_is_a_usage_error_naming_the_known_ones(
    only: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert only.main(["gremlins"]) == 2
    assert "no row 'gremlins'; there are: absent, bad, good" in capsys.readouterr().out


def test_the_page_has_all_rows(only: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    assert only.main(["--times", "3", "--seed", "9", "--report", str(page)]) == 1
    text = page.read_text(encoding="utf-8")
    assert "**1 of 2 rows held**" in text
    assert "seed 9, " + report.machine() in text
    assert "| `good` | something made up | it holds | **3 of 3** |" in text
    assert "**2 of 3**: round 2: lost" in text
    assert "- `absent` (something made up): needs the moon" in text


def test_what_held_is_not_played_again(only: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["--results", str(tmp_path / "kept"), "--seed", "9", "--times", "3"]
    assert only.main(["good", "bad", *ask]) == 1
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["good.json"]
    (tmp_path / "kept/good.json").write_text('{"times":3,"seed":9,"seconds":7.0,"seen":"","figures":"of before"}')
    assert only.main(["good", *ask]) == 0
    assert "something made up: 3 of 3 (seed 9; 7 s); of before" in capsys.readouterr().out
    assert only.main(["good", *ask, "--seed", "8"]) == 0
    assert "of before" not in capsys.readouterr().out
    (tmp_path / "kept/good.json").write_text("{")
    assert only.main(["good", *ask]) == 2
    assert "good.json: not understood" in capsys.readouterr().out


@pytest.mark.parametrize("times", ["0", "-1", "many"])
def test_rounds_are_counted_from_one(times: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["--times", times])
