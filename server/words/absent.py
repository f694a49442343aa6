"""Sentences on what was not recorded: they name items that the record lacks, and why, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge.procedure import Record
from server.words import lexicon as lexicons
from server.words.checklist import Checklist
from server.words.phrases import BREAK, PLAIN, StruckError, items, of_missing
from server.words.tokens import Token
from server.words.values import plain

FRAME = re.compile(r"key frame of ([A-Z][0-9]{1,6})")
"""As a box writes of a picture that it lost."""


class Absent:
    """Of one record in one language."""

    def __init__(self, record: Record, checklist: Checklist, language: str) -> None:
        self._record, self._lexicon = record, lexicons.of(language)
        self._table = of_missing(checklist, language, self._lexicon)
        self._items = {item.key: item for item in checklist.items}
        self._missing = {item.key for item in checklist.missing(record)} | set(record.not_recorded)

    def quoted(self, text: str) -> str:
        """With each reason that has a number in quotation marks: as boxes write it, it is one piece."""
        for reason in self._record.not_recorded.values():
            if counted := self._lexicon.counted(reason):
                text = text.replace(counted, self._lexicon.quoted(plain(reason)))
        return text

    def claims(self, found: list[Token], cited: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
        """What it says is missing, and the facts that it speaks of. Raises StruckError."""
        times = self._record.times.id
        if times not in cited:
            raise StruckError(f"what is not recorded is said of the procedure: expected {times}")
        keys, reasons, groups, used = self._read(found, cited)
        if len(set(keys)) < len(keys):
            raise StruckError("it names an item twice")
        if lacking := sorted(set(keys) - self._missing):
            raise StruckError(f"“{lacking[0]}” is recorded")
        if wrong := next((key for key in keys for group in groups if self._group(key) not in ("", group)), None):
            raise StruckError(f"“{wrong}” is not of that part of the procedure")
        for reason in reasons:
            if other := next((key for key in keys if self._why(key) != reason), None):
                raise StruckError(f"that is not why “{other}” is missing")
        claims = {f"missing.{key}" for key in keys} | ({f"why.{key}" for key in keys} if reasons else set())
        return frozenset(claims), frozenset(used | {times})

    def _read(self, found: list[Token], cited: frozenset[str]) -> tuple[list[str], list[str], list[str], set[str]]:
        keys: list[str] = []
        reasons: list[str] = []
        groups: list[str] = []
        used: set[str] = set()
        for item in items(found, self._table, self._lexicon):
            kinds = dict(concept.split(":", 1) for concept in item.concepts if ":" in concept)
            if item.concepts and set(item.concepts) <= {PLAIN, BREAK, "topic:missing"}:
                continue
            if "item" in kinds:
                keys.append(self._meant([one[5:] for one in item.concepts if one.startswith("item:")]))
            elif "reason" in kinds:
                known = [one[7:] for one in item.concepts if one.startswith("reason:")]
                reasons.append(next((one for one in known if one in self._record.not_recorded.values()), known[0]))
            elif "group" in kinds:
                groups.append(kinds["group"])
            elif item.token.kind == "quote":
                self._quote(item.token.text, keys, reasons)
            elif item.token.kind == "id" and keys and keys[-1] == "key_frame" and item.token.text in cited:
                keys[-1] = f"key frame of {item.token.text}"
                used.add(item.token.text)
            else:
                raise StruckError(f"“{item.token.text}” has no place where nothing was recorded")
        return keys, reasons, groups, used

    def _meant(self, keys: list[str]) -> str:
        return next((key for key in keys if key in self._missing), keys[0])

    def _quote(self, text: str, keys: list[str], reasons: list[str]) -> None:
        """A key or a reason that this language has no words for."""
        told = self._record.not_recorded
        if not keys and (key := next((key for key in told if plain(key) == text), None)) is not None:
            keys.append(key)
        elif (reason := next(self._reasons(text, keys), None)) is not None:
            reasons.append(reason)
        else:
            raise StruckError(f"“{text}” is quoted from no fact")

    def _reasons(self, text: str, keys: list[str]) -> Iterator[str]:
        for key in keys:
            if (reason := self._why(key)) is not None and plain(reason) == text:
                yield reason

    def _why(self, key: str) -> str | None:
        told = self._record.not_recorded
        item = self._items.get(key)
        return told.get(key, told.get(item.why) if item else None)

    def _group(self, key: str) -> str:
        return self._items[key].group if key in self._items else ""
