"""What may be done with an offer, and when: by properties, and each reason by an example."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.update import policy
from edge.update.offer import Bundle, Offer
from edge.update.policy import Box, Moment, Rules, Step, against, chosen, within

DIGEST = "ab" * 32
OFFER = Offer(
    version="1.2.0", channel="stable", hardware=("x86",), bundle=Bundle(url="b.raucb", size=100 << 20, sha256=DIGEST)
)
BOX = Box(device="box-1", hardware="x86", version="1.1.0", agreed=frozenset({DIGEST}))
MOMENT = Moment(procedure=False, free_bytes=10 << 30, mains=True, temperature_c=60.0, minute=23 * 60)
RULES = Rules(window="22:00-05:00")
STEPS: tuple[Step, ...] = ("download", "install", "switch")


def codes(step: Step, offer: Offer = OFFER, box: Box = BOX, moment: Moment = MOMENT, rules: Rules = RULES) -> list[str]:
    return [one.code for one in against(step, offer, box, moment, rules)]


@pytest.mark.parametrize("step", STEPS)
def test_on_a_good_night_nothing_is_against_it(step: Step) -> None:
    assert codes(step) == []


@pytest.mark.parametrize(
    ("code", "change", "steps", "waits"),
    [
        ("channel", {"offer": {"channel": "trial"}}, STEPS, False),
        ("hardware", {"offer": {"hardware": ("jetson-orin", "pi")}}, STEPS, False),
        ("runs", {"box": {"version": "1.2"}}, STEPS, False),
        ("older", {"box": {"version": "1.10.0"}}, STEPS, False),
        ("too_far", {"offer": {"at_least": "1.1.1"}}, STEPS, False),
        ("refused", {"box": {"refused": frozenset({DIGEST})}}, STEPS, True),
        ("share", {"offer": {"share": 0.0}, "box": {"agreed": frozenset()}, "rules": {"consent": False}}, STEPS, True),
        ("disk", {"moment": {"free_bytes": 100 << 20}}, ("download",), True),
        ("consent", {"box": {"agreed": frozenset()}}, ("install", "switch"), True),
        ("procedure", {"moment": {"procedure": True}}, ("install", "switch"), True),
        ("procedure", {"moment": {"procedure": None}}, ("install", "switch"), True),
        ("power", {"moment": {"mains": False}}, ("install", "switch"), True),
        ("heat", {"moment": {"temperature_c": 85.1}}, ("install", "switch"), True),
        ("heat", {"moment": {"throttled": True}}, ("install", "switch"), True),
        ("window", {"moment": {"minute": 12 * 60}}, ("switch",), True),
        ("window", {"moment": {"minute": None}}, ("switch",), True),
    ],
)
def test_each_reason(code: str, change: dict[str, dict[str, Any]], steps: tuple[Step, ...], waits: bool) -> None:
    given = {"offer": OFFER, "box": BOX, "moment": MOMENT, "rules": RULES}
    given |= {name: replace(given[name], **values) for name, values in change.items()}
    for step in STEPS:
        found = against(step, **given)  # type: ignore[arg-type]
        assert [one.code for one in found] == ([code] if step in steps else [])
        assert all(one.waits is waits and one.words for one in found)


def test_what_is_not_known_of_the_machine_stops_nothing_but_an_unknown_procedure() -> None:
    unknown = Moment(procedure=False, free_bytes=10 << 30)
    assert [codes(step, moment=unknown, rules=Rules()) for step in STEPS] == [[], [], []]


def test_one_goes_back_by_a_signed_permission_alone() -> None:
    newer = replace(BOX, version="1.3.0")
    assert codes("install", box=newer) == ["older"]
    assert codes("install", replace(OFFER, may_replace=("1.3",)), newer) == []
    assert codes("install", replace(OFFER, may_replace=("1.3.1", "1.4")), newer) == ["older"]


def test_who_agrees_at_the_box_need_not_wait_for_its_share() -> None:
    assert codes("download", replace(OFFER, share=0.0)) == []


def test_an_offer_may_ask_for_a_person_where_the_site_does_not() -> None:
    unasked = replace(BOX, agreed=frozenset())
    assert codes("install", box=unasked, rules=Rules(consent=False)) == []
    assert codes("install", replace(OFFER, consent=True), unasked, rules=Rules(consent=False)) == ["consent"]


MOMENTS = st.builds(
    Moment,
    procedure=st.sampled_from([True, False, None]),
    free_bytes=st.integers(0, 1 << 40),
    mains=st.sampled_from([True, False, None]),
    temperature_c=st.none() | st.floats(-20, 120),
    throttled=st.booleans(),
    minute=st.none() | st.integers(0, 1439),
)
OFFERS = st.builds(
    replace,
    st.just(OFFER),
    version=st.sampled_from(["1.0", "1.1.0", "1.1.1rc1", "1.2.0", "2.0"]),
    share=st.floats(0, 1),
    consent=st.booleans(),
    may_replace=st.sampled_from([(), ("1.1.0",), ("2.0",)]),
    hardware=st.sampled_from([("x86",), ("pi",), ("pi", "x86")]),
)
BOXES = st.builds(
    replace,
    st.just(BOX),
    device=st.text(min_size=1, max_size=8),
    version=st.sampled_from(["1.0", "1.1.0", "1.2.0", "2.0"]),
    refused=st.sampled_from([frozenset(), frozenset({DIGEST})]),
    agreed=st.sampled_from([frozenset(), frozenset({DIGEST})]),
)
SITES = st.builds(Rules, consent=st.booleans(), window=st.sampled_from(["", "22:00-05:00", "01:00-02:00"]))


@given(OFFERS, BOXES, MOMENTS, SITES)
def test_nothing_is_touched_in_a_procedure_and_nothing_else_than_what_belongs_here(
    offer: Offer, box: Box, moment: Moment, rules: Rules
) -> None:
    for step in STEPS:
        free = not against(step, offer, box, moment, rules)
        if free:
            assert "x86" in offer.hardware
            assert DIGEST not in box.refused
            assert offer.number > policy.Version(box.version) or box.version in offer.may_replace
        if free and step != "download":
            assert moment.procedure is False
            assert DIGEST in box.agreed or not (offer.consent or rules.consent)


@given(OFFERS, BOXES, MOMENTS, SITES)
def test_who_may_switch_might_have_installed(offer: Offer, box: Box, moment: Moment, rules: Rules) -> None:
    install, switch = (set(codes(step, offer, box, moment, rules)) for step in ("install", "switch"))
    assert install <= switch <= install | {"window"}


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_share_that_grows_leaves_nobody_out(device: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert chosen(device, "1.2.0", large) or not chosen(device, "1.2.0", small)
    assert chosen(device, "1.2.0", 1.0)
    assert not chosen(device, "1.2.0", 0.0)


def test_a_share_is_that_share_and_others_each_time() -> None:
    devices = [f"box-{number}" for number in range(10_000)]
    first, second = ({one for one in devices if chosen(one, version, 0.1)} for version in ("1.2.0", "1.3.0"))
    assert len(first) == pytest.approx(1000, abs=100)  # 3.3 standard deviations, and always the same
    assert len(first & second) == pytest.approx(100, abs=35)


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_a_window_and_its_opposite_are_the_day(begins: int, ends: int, minute: int) -> None:
    def text(a: int, b: int) -> str:
        return f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}"

    inside = within(text(begins, ends), minute)
    if begins == ends:
        assert inside
    else:
        assert inside is not within(text(ends, begins), minute)
        assert within(text(begins, ends), begins)
        assert not within(text(begins, ends), ends)
