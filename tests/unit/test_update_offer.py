"""What is an offer and what is refused as none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edge.errors import UpdateError
from edge.update.offer import OFFER_MOST, read_offer

GOOD: dict[str, Any] = {
    "version": "1.2.0",
    "channel": "stable",
    "hardware": ["jetson-orin", "x86"],
    "bundle": {"url": "endoedge-1.2.0.raucb", "size": 123_456_789, "sha256": "0f" * 32},
}


def read(**changes: Any) -> Any:
    return read_offer(msgspec.json.encode(GOOD | changes), "stable.json")


def test_a_small_one() -> None:
    offer = read()
    assert (offer.content, offer.share, offer.at_least, offer.may_replace) == ("all", 1.0, "0", ())
    assert offer.number > read(version="1.2.0rc3").number > read(version="1.1.99").number


def test_what_a_later_publisher_says_besides_is_passed_over() -> None:
    assert read(extra=1, bundle=GOOD["bundle"] | {"delta": "b.delta"}) == read()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "one"}, "no version"),
        ({"at_least": "1..2"}, "no version"),
        ({"may_replace": ["?"]}, "no version"),
        ({"share": 1.5}, "share"),
        ({"hardware": []}, "hardware"),
        ({"hardware": ["x86\n"]}, "hardware"),
        ({"bundle": {"url": "x", "size": 0, "sha256": "0f" * 32}}, "size"),
        ({"bundle": {"url": "x", "size": 1, "sha256": "0f" * 31}}, "sha256"),
        ({"content": "firmware"}, "content"),
        ({"channel": "trial"}, "of channel trial"),
    ],
)
def test_what_is_none_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UpdateError, match=said) as found:
        read(**changes)
    assert str(found.value).startswith("offer stable.json: ")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b" " * (OFFER_MOST + 1)])
def test_what_is_no_json_is_said(content: bytes) -> None:
    with pytest.raises(UpdateError, match=r"offer stable\.json: "):
        read_offer(content, "stable.json")
