"""A report: sentences, each with who said it and what supports it. Pure values, shared by all of the server.

A box's `edge.procedure.Record` has the facts; a report words them. Only a person's sentence may stand without a fact.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edge.procedure import Id
from edge.types import Struct

Section = Literal["procedure", "quality", "landmarks", "findings", "summary", "not_recorded"]
"""In the order in which a report has them."""
By = Literal["template", "model", "person"]
State = Literal["draft", "final", "amended"]
Language = Annotated[str, Meta(pattern=r"^[a-z]{2}\Z")]


class Sentence(Struct, frozen=True, kw_only=True):
    id: Annotated[str, Meta(pattern=r"^S[0-9]{1,4}\Z")]  # unique in its report, never used again
    section: Section
    text: Annotated[str, Meta(min_length=1, max_length=600)]
    cites: tuple[Id, ...] = ()  # facts of the record that support it
    by: By
    author: str = ""  # of a person's: the account's name
    struck: str = ""  # why it was struck out; "" stands
    struck_by: str = ""  # the person who did that; "" the check


class Drafted(Struct, frozen=True, kw_only=True):
    """How the draft came about."""

    by: Literal["template", "model"]
    model: str = ""  # as its endpoint names it
    prompt: str = ""  # sha256 of the prompt's template
    struck: int = 0  # sentences that the check struck out
    fallback: str = ""  # why the template had to do: "timeout", "invalid JSON", ...; "" where it was wanted


class Signature(Struct, frozen=True, kw_only=True):
    account: str
    name: str
    at: str  # RFC 3339, UTC


class Report(Struct, frozen=True, kw_only=True):
    version: int = 1
    device: str
    procedure: str
    revision: int  # of the record that it is made from
    language: Language
    state: State
    drafted: Drafted
    sentences: tuple[Sentence, ...]
    signatures: tuple[Signature, ...] = ()

    def standing(self) -> tuple[Sentence, ...]:
        """What is not struck out, in order."""
        return tuple(sentence for sentence in self.sentences if not sentence.struck)
