"""What a channel offers: the small JSON that TUF signs for. The release is a RAUC bundle, known by its digest."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from packaging.version import InvalidVersion, Version

from edge.errors import UpdateError
from edge.release import Content
from edge.types import Struct

OFFER_MOST = 16 << 10  # bytes
_END = r"(?!\n)"  # Python's `$` lets a line end pass
Name = Annotated[str, Meta(pattern=rf"^[a-z0-9][a-z0-9._-]{{0,63}}${_END}")]
Digest = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{64}}${_END}")]
Words = Annotated[str, Meta(max_length=2000)]


class Bundle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    url: Annotated[str, Meta(min_length=1, max_length=1000)]  # absolute, or relative to the offer's own
    size: Annotated[int, Meta(ge=1, le=16 << 30)]  # bytes
    sha256: Digest


class Offer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """`targets/CHANNEL.json`. An older box passes over keys that it does not know: what no box may pass over needs
    another channel, or `system`."""

    version: Annotated[str, Meta(max_length=64)]
    channel: Name
    hardware: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=16)]  # RAUC's `compatible`, of each board
    bundle: Bundle
    content: Content = "all"
    share: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0  # of all boxes, chosen by hash
    at_least: Annotated[str, Meta(max_length=64)] = "0"  # the version that has to run before this one
    system: Annotated[int, Meta(ge=1, le=10_000)] = 1  # of units, slot program and RAUC's configuration: the least
    may_replace: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    """Newer versions whose place this one may take: the signed permission to go back. Nothing else goes back."""
    consent: bool = False  # a person has to agree, whatever the site's rules are
    changes: Words = ""
    clinical: Words = ""  # what is different for patients and endoscopists; shown before anybody agrees

    def __post_init__(self) -> None:
        """ValueError, which msgspec makes its own."""
        for text in (self.version, self.at_least, *self.may_replace):
            try:
                Version(text)
            except InvalidVersion as exc:
                raise ValueError(f"{text[:40]!r} is no version: expected one such as 1.4.2") from exc

    @property
    def number(self) -> Version:
        return Version(self.version)


def read_offer(content: bytes, name: str) -> Offer:
    """`name`: the target's. Raises UpdateError: not an offer, or one of another channel."""
    if len(content) > OFFER_MOST:
        raise UpdateError(f"offer {name}: {len(content)} bytes, expected at most {OFFER_MOST}")
    try:
        offer = msgspec.json.decode(content, type=Offer)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise UpdateError(f"offer {name}: {exc}") from exc
    if name != f"{offer.channel}.json":
        raise UpdateError(f"offer {name}: it says that it is of channel {offer.channel}")
    return offer
