"""What the model is asked, what it is to answer, and what it may say: the one place that knows `server/words`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, get_args

import msgspec

from edge.procedure import Record
from server.report import Section, Sentence
from server.words import checklist, template, wording
from server.words.check import Check

LANGUAGES = ("en", "de")
Decent = Callable[[str], bool]


_lists = functools.cache(checklist.load)


class Asked(NamedTuple):
    """`messages`: roles and parts, a picture's place marked `{"type": "image"}`. `pictures`: in that order."""

    messages: list[dict[str, Any]]
    pictures: list[bytes]


class Form:
    """Of one record in one language (of LANGUAGES)."""

    def __init__(self, record: Record, language: str) -> None:
        lists = _lists()
        self._record, self._language = record, language
        self._check = Check(record, lists, language)
        self._facts = template.sentences(record, language, lists)

    def asked(self, frames: Callable[[str], bytes | None], frames_most: int, decent: Decent) -> Asked:
        """As an endpoint is asked for a draft, but for the facts that are not `decent`."""
        facts = [one for one in self._facts[: wording.FACTS_MOST] if decent(one.text)]
        parts: list[dict[str, str]] = [{"type": "text", "text": wording.told(facts)}]
        shown = wording.pictures(self._record, frames, frames_most)
        for picture in shown:
            parts += [{"type": "text", "text": picture.name}, {"type": "image"}]
        system = [{"type": "text", "text": wording.prompt("prompt", self._language)}]
        told = [{"role": "system", "content": system}, {"role": "user", "content": parts}]
        return Asked(told, [picture.jpeg for picture in shown])

    def struck(self, sentence: Sentence) -> str:
        """Why the check would strike it out if the model had said it; "": it stands. A model that learns to say what
        would not stand learns to invent."""
        return self._check.sentence(sentence.text, sentence.cites).struck


def answer(sentences: Iterable[Sentence]) -> str:
    """As an endpoint is to answer: by section, each sentence with what it cites."""
    said: dict[Section, list[wording.Worded]] = {section: [] for section in get_args(Section)}
    for sentence in sentences:
        said[sentence.section].append(wording.Worded(cites=sentence.cites, text=sentence.text))
    return json.dumps(msgspec.to_builtins(said), ensure_ascii=False)


def prompt_digests() -> dict[str, str]:
    """sha256 of the prompt's template by language, as `Drafted.prompt` has it."""
    return {language: wording.digest("prompt", language) for language in LANGUAGES}
