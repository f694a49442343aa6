"""An event becomes a message: it gets its id, its number and its time. Pure but for the id's random part.

Order is `seq`'s alone. The id begins with the wall clock's milliseconds, which is good for people who sort by it on a
box whose clock is right; that it is nobody else's comes from its 80 random bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from ulid import ULID

from edge.clock import Moment, Wall
from edge.messages import Event, Message


def stamped(events: Sequence[Event], device: str, first_seq: int, now: Moment) -> list[Message]:
    """All of one commit have its time."""
    return [
        Message(
            id=str(ULID.from_timestamp(now.wall.at_s)),
            device=device,
            boot=now.boot,
            seq=seq,
            committed_at=str(now.wall),
            event=event,
            committed_ns=now.ns,
            clock_trusted=now.wall.trusted,
        )
        for seq, event in enumerate(events, first_seq)
    ]


def committed(message: Message) -> Moment:
    """When it was."""
    return Moment(message.boot, message.committed_ns, Wall.parse(message.committed_at, message.clock_trusted))
