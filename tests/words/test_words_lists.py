"""Checklists, lexica and intents are read strictly: an error names file and key."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edge.procedure import Record
from server.words import ask, checklist, data, lexicon, phrases
from server.words.checklist import FOLDER, Lists
from server.words.errors import WordsError
from server.words.lexicon import LANGUAGES, Lexicon


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "lists"))


def test_the_lists_are_of_their_pipelines(lists: Lists, record: Record) -> None:
    assert lists.of(record).name == "ESGE/ASGE lower GI"
    assert {name for one in lists.lists for name in one.pipelines} == {"colonoscopy", "gastroscopy"}
    assert all(source.doi.startswith("10.") for one in lists.lists for source in one.sources)


def test_what_a_record_lacks(lists: Lists, record: Record) -> None:
    missing = {item.key for item in lists.of(record).missing(record)}
    assert {"patient", "size", "histology", "bbps", "ileocaecal_valve", "instruments"} <= missing
    assert not {"duration", "withdrawal", "caecum", "caecum_picture", "preparation", "finding_pictures"} & missing


WRONG = [
    ('group = "before"', 'group = "later"', "items[0].group: Invalid enum value 'later'"),
    ('key = "patient"', 'key = "Patient"', "items[0].key"),
    ('key = "indication"', 'key = "patient"', "'patient' is there twice"),
    ('name = { en = "patient", de = "Patient" }', 'name = { en = "patient" }', "items[0].name: expected a name in de"),
    ('recorded = ["started"]', 'recorded = ["stopped"]', "recorded[0]"),
    ("at_least_s = 360", "at_least_s = 0", "thresholds[0].at_least_s"),
    ("at_least_s = 360", "at_leats_s = 360", "thresholds[0]: Object contains unknown field `at_leats_s`"),
    ('doi = "10.1055/s-0043-103411"', 'doi = "somewhere"', "doi"),
    ('pipelines = ["colonoscopy"]', 'pipelines = ["gastroscopy"]', "'gastroscopy' is in two lists"),
    ('pipelines = ["colonoscopy"]', "pipelines = []", "expected one list that names none"),
    ("name = ", "name : ", "not TOML"),
]


@pytest.mark.parametrize(("old", "new", "why"), WRONG)
def test_a_wrong_list_is_refused(folder: Path, old: str, new: str, why: str) -> None:
    file = folder / "colonoscopy.toml"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(WordsError, match=re.escape(why)) as error:
        checklist.load(folder)
    assert str(folder) in str(error.value)


def test_a_folder_without_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WordsError, match="expected one list that names none"):
        checklist.load(tmp_path)


def test_a_lexicon_is_read_strictly(tmp_path: Path) -> None:
    text = (lexicon.FOLDER / "en" / "lexicon.toml").read_text()
    file = tmp_path / "lexicon.toml"
    file.write_text(text.replace("[terms.marker]", "[terms.makrer]"))
    with pytest.raises(WordsError, match=r"lexicon.toml: .*makrer"):
        data.load(file, Lexicon)
    with pytest.raises(WordsError, match="No such file"):
        data.load(tmp_path / "none.toml", Lexicon)


def test_intents_are_read_strictly(tmp_path: Path) -> None:
    text = (lexicon.FOLDER / "en" / "intents.toml").read_text()
    (tmp_path / "en").mkdir()
    for old, new, why in (
        ('unless = ["landmark", "finding"]', 'unless = ["weather"]', "intents.started.unless: 'weather' is no intent"),
        (r"claims = 'missing\.size'", "claims = '('", "intents.size.claims"),
    ):
        (tmp_path / "en" / "intents.toml").write_text(text.replace(old, new))
        with pytest.raises(WordsError, match=re.escape(why)):
            ask.intents("en", tmp_path)


def test_the_languages_have_the_same_terms() -> None:
    """A concept that one language can name the other can, too."""
    english, german = (lexicon.of(language) for language in LANGUAGES)
    assert {kind: set(terms) for kind, terms in english.terms.items()} == {
        kind: set(terms) for kind, terms in german.terms.items()
    }
    assert set(english.reasons) == set(german.reasons)
    assert set(english.flags) == set(german.flags)
    assert set(ask.intents("en").intents) == set(ask.intents("de").intents)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_form_is_lost_to_another(language: str) -> None:
    """What the template writes for a concept is understood as that concept."""
    words, table = lexicon.of(language), phrases.of_facts(language).phrases
    for kind, terms in words.terms.items():
        for key, forms in terms.items():
            if kind not in ("item", "group", "role"):
                assert f"{kind}:{key}" in table[phrases.words(forms[0], words)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_that_may_never_be_said_is_a_plain_word(language: str) -> None:
    words = lexicon.of(language)
    assert [word for word in (*words.plain, *words.glue) if words.flag(word)] == []
