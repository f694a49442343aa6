"""Questions about a procedure, and what was answered: kept as they were, beside the report."""

from __future__ import annotations

import secrets

import msgspec
from sqlalchemy import Connection, select

from edge.types import Struct
from server.clock import now
from server.reports import Key
from server.store.tables import questions
from server.words.ask import Answer

SHOWN_MOST = 100


class Asked(Struct, frozen=True, kw_only=True):
    id: str
    account: str
    at: str
    question: str
    answer: Answer


def asked(connection: Connection, key: Key) -> list[Asked]:
    """The last ones, first one first."""
    of = [questions.c[name] == value for name, value in key._asdict().items()]
    query = select(questions).where(*of).order_by(questions.c.at.desc()).limit(SHOWN_MOST)
    return [
        Asked(
            id=row.id,
            account=row.account,
            at=row.at,
            question=row.question,
            answer=msgspec.json.decode(row.answer, type=Answer),
        )
        for row in reversed(connection.execute(query).all())
    ]


def keep(connection: Connection, key: Key, account: str, question: str, answer: Answer) -> Asked:
    kept = Asked(id=secrets.token_hex(16), account=account, at=now(), question=question, answer=answer)
    row = {**key._asdict(), **{name: getattr(kept, name) for name in ("id", "account", "at", "question")}}
    connection.execute(questions.insert(), {**row, "answer": msgspec.json.encode(answer)})
    return kept
