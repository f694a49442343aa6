"""How the twin judges updates, without a machine: which cuts come, what is a whole release, when it is over."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge import __version__
from edge.errors import UpdateError, UsageError
from tools.ota import thin
from tools.twin import ota, ota_killed, publisher, report, scenarios, words
from tools.twin.elsewhere import GUEST
from tools.twin.ota_killed import BOOT, SEEN, Boot, Cut, Cuts
from tools.twin.session import Result, Session
from tools.twin.words import Runs

SIGNED = {"1.1.0": "aa", "1.2.0": "bb"}


def runs(version: str = "1.1.0", booted: str = "A", sha256: str = "aa", state: str = "idle", **more: Any) -> Runs:
    return Runs(state=state, booted=booted, sha256=sha256, version=version, **more)


def test_cuts_are_the_same_of_one_seed_and_as_many_as_were_asked_for() -> None:
    def all_of(seed: int) -> list[Cut]:
        cuts = Cuts(200, seed)
        return list(iter(cuts.next, None))

    made = all_of(1)
    assert made == all_of(1) != all_of(2)
    assert len(made) == 200
    assert {cut.when for cut in made} == {BOOT, SEEN, *ota_killed.STATES}
    assert not any(one.when == other.when == BOOT for one, other in itertools.pairwise(made))


def test_what_was_signed_is_right_and_what_was_installed_first() -> None:
    for word in (runs(), runs("1.2.0", "B", "bb"), runs(__version__, "F", "")):
        boot = Boot(None, SIGNED)
        boot.take(word, 1.0)
        assert not boot.wrong
        assert boot.ran == word.version


@pytest.mark.parametrize(
    "word",
    [
        runs(sha256="bb"),  # another release's bytes
        runs(sha256=""),
        runs("1.3.0", "A", "cc"),  # nobody signed that
        runs("1.1.0", "F", ""),
        runs(__version__, "A", "aa"),  # the old program from a new slot
    ],
)
def test_what_was_not_is_wrong(word: Runs) -> None:
    boot = Boot(None, SIGNED)
    boot.take(word, 1.0)
    assert boot.wrong


def test_a_cut_comes_after_the_state_that_it_waits_for_and_not_before_something_runs() -> None:
    boot = Boot(Cut("fetched", 2.0), SIGNED)
    boot.take(runs("", "", "", "fetched"), boot.began_s + 1)
    assert not boot.until_s
    boot.take(runs(state="fetched"), boot.began_s + 5)
    assert boot.until_s == boot.began_s + 7
    boot.take(runs(state="installing"), boot.began_s + 6)
    assert boot.until_s == boot.began_s + 7
    assert boot.state == "installing"


@pytest.mark.parametrize(
    ("wanted", "states", "cut_after"),
    [
        ("offered", ["trying", "idle", "downloading"], 3),  # it was too short to be seen
        ("installed", ["installing", "switching"], 2),
        ("trying", ["trying"], 1),
        ("fetched", ["installing", "fetched"], 2),  # RAUC was interrupted: it is written again
        ("installing", ["trying", "idle"], 0),
    ],
)
def test_a_state_that_is_too_short_to_be_seen_is_not_missed(wanted: str, states: list[str], cut_after: int) -> None:
    boot = Boot(Cut(wanted, 1.0), SIGNED)
    cut = [boot.take(runs(state=state), boot.began_s + 1) or bool(boot.until_s) for state in states]
    assert cut.index(True) + 1 == cut_after if cut_after else not any(cut)


def test_a_state_that_does_not_come_is_not_waited_for_for_ever() -> None:
    boot = Boot(Cut("fetched", 2.0), SIGNED)
    boot.take(runs(state="trying"), boot.began_s + 1)
    boot.take(runs(state="idle"), boot.began_s + ota_killed.LATE_S + 2)
    assert boot.until_s == boot.began_s + ota_killed.LATE_S + 4


class Machine:
    """Says what it is told to, and ends."""

    def __init__(self, said: list[Runs]) -> None:
        self._said, self.off = said, False

    def next(self, _deadline: float) -> Runs | None:
        if not self._said:
            self.off = True
            return None
        return self._said.pop(0)


def follow(said: list[Runs], last: bool) -> tuple[str, list[str]]:
    published: list[str] = []
    releases = SimpleNamespace(signed=dict(SIGNED), newest="1.2.0", publish=published.append)
    place: Any = SimpleNamespace(releases=releases)
    run = ota_killed._Run(place, "ota_killed", Path(), lambda _word: None, False, Cuts(1, 1))
    machine: Any = Machine(said)
    return run._follow(machine, Boot(None, SIGNED), last), published


def test_it_is_over_when_the_newest_holds() -> None:
    assert follow([runs(), runs("1.2.0", "B", "bb", "trying"), runs("1.2.0", "B", "bb")], last=True) == ("", [])
    problem, _ = follow([runs(), runs("1.2.0", "B", "bb", "trying")], last=True)
    assert "went off by itself" in problem


def test_before_that_another_release_follows_the_one_that_holds_or_is_refused() -> None:
    assert follow([runs("1.2.0", "B", "bb")], last=False)[1] == ["1.3.0"]
    assert follow([runs(refused=("1.2.0",))], last=True)[1] == ["1.3.0"]
    assert follow([runs(waits=("rest",))], last=True)[1] == ["1.3.0"]
    assert follow([runs(waits=("procedure",))], last=True)[1] == []


def test_a_wrong_release_ends_it() -> None:
    problem, _ = follow([runs(sha256="cc"), runs("1.2.0", "B", "bb")], last=True)
    assert "1.1.0 runs from A" in problem


# --------------------------------------------------------------------------------- what is played, what is given


def test_scenarios_of_updates_have_a_command_of_their_own() -> None:
    assert scenarios.updating() == ["ota_http", "ota_killed", "ota_stick", "ota_watchdog"]
    assert not set(scenarios.updating()) & set(scenarios.names())
    for name in scenarios.updating():
        scenario = scenarios.load(name)
        assert scenario.proves.endswith("."), name
        assert scenario.updates in ("http", "stick"), name


def test_what_runs_survives_the_wire() -> None:
    word = runs(waits=("rest",), refused=("1.0.0",), offered="1.2.0")
    assert words.decode(words.encode(word)) == word


def test_a_thin_release_names_itself_and_carries_what_is_to_be_fetched(tmp_path: Path) -> None:
    made = thin.lay(tmp_path / "release", GUEST, "1.1.0", b"filling")
    assert json.loads((made / "release.json").read_text()) == {"version": "1.1.0", "package": __version__}
    assert (made / "venv/lib/python3.11/site-packages/endoedge.pth").read_text().startswith("/opt/endoedge/checkout\n")
    assert (made / "filling").read_bytes() == b"filling"
    assert not (thin.lay(tmp_path / "installed", GUEST) / "release.json").exists()


def test_a_whole_release_is_named_by_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "endoedge-1.2.0.json").write_text(json.dumps({"version": "1.2.0"}))
    assert publisher.whole_version(tmp_path / "endoedge-1.2.0.img") == "1.2.0"
    with pytest.raises(UpdateError, match=r"other\.json: .*expected what tools/release.sh build writes"):
        publisher.whole_version(tmp_path / "other.img")


def test_the_report_of_updates_counts_what_held() -> None:
    held = Result(scenario="ota_killed", proves="It holds.", problem="", seconds=12.0, measured={"cuts": 30.0})
    page = report.ota_page(Session(results=[held], kernel="6.1", boot_s=60.0, boots=31), emulated=True)
    assert page.startswith("# Updates on the twin")
    assert "**1 of 1 held**" in page
    assert "| `ota_killed` | It holds. | yes | 12 | cuts **30** |" in page


def test_what_held_in_a_folder_is_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [scenarios.load(name) for name in ("ota_http", "ota_stick")]
    played, problems = list[str](), {"ota_http": "", "ota_stick": "the cable was out"}

    def play_one(_image: object, scenario: scenarios.Scenario, *_: object) -> Session:
        played.append(scenario.name)
        problem = problems[scenario.name]
        result = Result(scenario=scenario.name, proves="", problem=problem, seconds=1.0, measured={})
        return Session(results=[result], kernel="6.1", boot_s=7.0, boots=2)

    def play(how: ota.How) -> Session:
        return ota.play(None, wanted, tmp_path, lambda _word: None, how)  # type: ignore[arg-type]

    monkeypatch.setattr(ota, "_played", play_one)
    play(ota.How())
    problems["ota_stick"] = ""
    session = play(ota.How())
    assert played == ["ota_http", "ota_stick", "ota_stick"]
    assert [one.problem for one in session.results] == ["", ""]
    assert (session.kernel, session.boots) == ("6.1", 4)
    play(ota.How(seed=2))
    assert played[3:] == ["ota_http", "ota_stick"]
    (tmp_path / "ota_stick/session.json").write_text("{")
    with pytest.raises(UsageError, match=r"ota_stick/session\.json: not understood"):
        play(ota.How(seed=2))
