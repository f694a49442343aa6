"""`update` at the console: what is shown, who may wish for what, and that only what was shown is agreed to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.console.commands import updates
from edge.updating import Obstacle, Trial, UpdateStatus, Wish
from tests.support.console import Person, make_keys
from tests.support.updating import OFFER, Taker, done, said, write


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_keys(tmp_path)


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path, wishes=tmp_path / "wishes", update_history=tmp_path / "history")


def tell(person: Person, **changes: Any) -> UpdateStatus:
    told = said(person.clock.now_ns(), **changes)
    write(person.folder / "run", told)
    return told


def taker(person: Person, answer: Callable[[Wish], list[UpdateStatus]]) -> Taker:
    return Taker(person.folder / "wishes", person.folder / "run", answer)


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_all_that_the_updater_says_is_shown_to_everybody(person: Person) -> None:
    tell(
        person,
        state="trying",
        offer=OFFER,
        checked_at="2026-11-23T10:00:00Z",
        trouble="1.4.0 did not hold: no frames",
        refused=("1.4.0",),
        obstacles=(
            Obstacle(code="consent", words="nobody has agreed"),
            Obstacle(code="disk", words="full", waits=False),
        ),
        trial=Trial(until_s=1.0, healthy_s=12.0, needed_s=60.0, lacks="frames"),
    )
    page = one_line(person.asks("update"))
    assert page == one_line(person.asks("update status"))
    for words in (
        "endoedge 1.4.1, slot A, channel stable",
        "1.4.2: on trial; TROUBLE",
        "2026-11-23T10:00:00Z, by a clock that nobody vouches for",
        "1.4.2, 300.0 MB, content: model",
        "changes a better model",
        "clinical flat polyps are found earlier",
        "waits, for nobody has agreed",
        "not, for full",
        "well for 12 of 60 s; lacks: frames",
        "did not hold 1.4.0",
    ):
        assert words in page
    assert "1.4.0 did not hold: no frames" in one_line(person.asks("faults"))
    assert "updates 1.4.2: on trial; TROUBLE, see `faults`" in one_line(person.asks("status"))


def test_a_machine_without_an_updater_lacks_nothing(person: Person) -> None:
    assert "updates no updater" in one_line(person.asks("status"))
    assert "update " not in person.asks("faults")
    assert "does not run" in person.asks("update status")


def test_an_updater_that_is_silent_is_a_fault(person: Person, key: Path) -> None:
    tell(person)
    person.clock.pass_s(60)
    assert "the updater has said nothing for 60 s" in one_line(person.asks("faults"))
    assert "STALE" in person.asks("update")
    person.logs_in(key)
    assert "is it running?" in one_line(person.asks("update check"))
    assert not (person.folder / "wishes").exists()


@pytest.mark.parametrize(("verb", "right"), sorted(updates.RIGHTS.items()))
def test_each_wish_needs_its_right(person: Person, key: Path, verb: str, right: str) -> None:
    tell(person, offer=OFFER, state="offered")
    assert person.asks(f"update {verb}").startswith("refused: log in first")
    other = "diagnose" if right == "restart" else "restart"
    person.logs_in(key, rights=[other])
    assert person.asks(f"update {verb}").startswith("refused:")
    assert person.audit()[-1]["command"] == f"update {verb}"


def test_a_wish_is_followed_to_its_end(person: Person, key: Path) -> None:
    person.logs_in(key)
    now = tell(person, offer=OFFER, state="offered").updated_ns
    steps = [
        said(now, offer=OFFER, state="downloading", percent=40),
        said(now, offer=OFFER, state="fetched", answers=done("1.4.2 is here")),
    ]
    with taker(person, lambda _: steps) as updater:
        text = person.asks("update download 1.4.2 /media/usb")
    (wish,) = updater.wishes
    assert (wish.verb, wish.version, wish.source) == ("download", "1.4.2", "/media/usb")
    assert wish.who == "console: A. Engineer (service.pem)"
    assert text.endswith("1.4.2 is here\r\n")
    assert person.audit()[-1]["outcome"] == "done"


def test_what_went_wrong_is_said_and_recorded(person: Person, key: Path) -> None:
    person.logs_in(key)
    now = tell(person).updated_ns
    with taker(person, lambda _: [said(now, answers=done("no network", ok=False))]):
        assert person.asks("update check").endswith("failed: no network\r\n")
    assert person.audit()[-1]["outcome"] == "failed: no network"


def test_install_shows_first_and_wants_the_version(person: Person, key: Path) -> None:
    person.logs_in(key)
    now = tell(person, offer=OFFER, state="fetched").updated_ns
    with taker(person, lambda _: [said(now, state="switching", answers=done("it is switched"))]) as updater:
        shown = one_line(person.asks("update install"))
        assert "clinical flat polyps are found earlier" in shown
        assert shown.endswith("to agree to it: update install 1.4.2")
        assert one_line(person.asks("update install 1.4.3")).startswith("failed: 1.4.2 is offered, not 1.4.3")
        assert updater.wishes == []
        agreed = one_line(person.asks("update install 1.4.2"))
    assert "a better model" in agreed
    assert "log in again" in agreed
    assert [(wish.verb, wish.version) for wish in updater.wishes] == [("install", "1.4.2")]


@pytest.mark.parametrize("state", ["idle", "offered"])
def test_nothing_can_be_agreed_to_that_is_not_offered(person: Person, key: Path, state: str) -> None:
    person.logs_in(key)
    tell(person, state=state)
    assert "nothing is offered" in person.asks("update install")
    assert "nothing is offered" in person.asks("update install 1.4.2")


def test_a_wish_that_nobody_takes_is_taken_back(person: Person, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "TAKEN_WITHIN_S", 1.0)
    (person.folder / "wishes").mkdir()
    person.logs_in(key)
    tell(person)
    assert "the updater does not take it" in one_line(person.asks("update rollback"))
    assert list((person.folder / "wishes").iterdir()) == []
    person.shell.feed(b"update check\r")
    person.shell.step()
    (path,) = (person.folder / "wishes").iterdir()
    assert json.loads(path.read_bytes())["verb"] == "check"
    assert "interrupted" in person.types("\x03")
    assert list((person.folder / "wishes").iterdir()) == []


def test_no_folder_for_wishes_is_no_updater(person: Person, key: Path) -> None:
    person.logs_in(key)
    tell(person)
    assert "this machine has no updater" in one_line(person.asks("update check"))


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("update status 1.4.2", "takes no words"),
        ("update nonsense", "update [status|check"),
        ("update check 1.4.2", "takes a folder at most"),
        ("update rollback /media/usb", "takes no words"),
        ("update install 1.4.2 1.4.3", "expected a version such as"),
        ("update install ../etc", "expected a version such as"),
        ("update download /a /b", "expected a version such as"),
    ],
)
def test_words_that_are_wrong_do_nothing(person: Person, key: Path, command: str, answer: str) -> None:
    (person.folder / "wishes").mkdir()
    person.logs_in(key)
    tell(person, offer=OFFER)
    assert answer in one_line(person.asks(command))
    assert list((person.folder / "wishes").iterdir()) == []


def test_history_is_the_updater_s_own_where_it_may_be_read(person: Person) -> None:
    tell(person, refused=("1.3.9",), answers=done("looked: nothing newer"))
    assert "looked: nothing newer did not hold here: 1.3.9" in one_line(person.asks("update history"))
    (person.folder / "history").mkdir()
    entry = {"at": "2026-11-23T10:00:00Z", "who": "box", "command": "install 1.4.1", "outcome": "held"}
    (person.folder / "history" / "audit-000000000001.log").write_text(json.dumps(entry) + "\nnot JSON\n[]\n")
    assert person.asks("update history") == "2026-11-23T10:00:00Z box: install 1.4.1: held\r\n"
