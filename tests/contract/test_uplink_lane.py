"""The delivery rules alone: no clock, no broker, no outbox."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.uplink.backoff import Backoff
from edge.uplink.delivery import NO_MATCHING_SUBSCRIBERS, SUCCESS, Lane, Rules

NOT_AUTHORISED = 0x87
STEADY = Rules(window=4, require_subscriber=True, confirm_timeout_s=None)
CONFIRMED = STEADY._replace(confirm_timeout_s=10.0)


def lane(rules: Rules = STEADY) -> Lane:
    """Its waits are 1, 2, 4, 4, ... seconds."""
    lane = Lane(rules, Backoff(2, 8, jitter=lambda: 0.0))
    lane.restart()
    return lane


def send(lane: Lane, *seqs: int, now_s: float = 0.0) -> None:
    """Packet id = seq, id = "m<seq>"."""
    for seq in seqs:
        lane.sending(seq, f"m{seq}", seq, now_s)


def test_slow_start_then_the_whole_window() -> None:
    out = lane()
    assert out.room(0) == 1
    send(out, 1)
    assert out.room(0) == 0
    out.answered(1, SUCCESS, "Success", 0)
    assert out.done == {1}
    assert out.room(0) == 4
    send(out, 2, 3)
    assert out.room(0) == 2


def test_refused_goes_back_alone_after_a_wait() -> None:
    out = lane()
    send(out, 1)
    out.answered(1, SUCCESS, "Success", 0)
    send(out, 2, 3, 4)
    out.answered(2, NOT_AUTHORISED, "Not authorized", 0)
    assert out.trouble == "the broker refuses it: Not authorized (0x87)"
    out.answered(3, SUCCESS, "Success", 0)
    assert out.room(100) == 0, "4 is still under way"
    out.answered(4, NOT_AUTHORISED, "Not authorized", 0)
    assert out.done == {1, 3}
    assert out.room(0.9) == 0, "too early"
    assert out.room(1.0) == 1
    assert out.cursor == 0, "from the oldest"
    send(out, 2, now_s=1.0)
    assert (out.sent, out.republished, out.refused) == (4, 1, 2)
    out.answered(2, NOT_AUTHORISED, "Not authorized", 1.0)
    assert out.room(2.9) == 0, "twice the wait"
    assert out.room(3.0) == 1
    send(out, 2, now_s=3.0)
    out.answered(2, SUCCESS, "Success", 3.0)
    assert out.trouble == ""
    assert out.room(3.0) == 4


def test_nobody_subscribes() -> None:
    for required, delivered in ((True, set()), (False, {1})):
        out = lane(STEADY._replace(require_subscriber=required))
        send(out, 1)
        out.answered(1, NO_MATCHING_SUBSCRIBERS, "No matching subscribers", 0)
        assert out.done == delivered
        assert out.no_subscriber == 1
        assert bool(out.trouble) is required


def test_subscribers_word() -> None:
    out = lane(CONFIRMED)
    send(out, 1)
    out.answered(1, SUCCESS, "Success", 0)
    assert out.done == set(), "the broker's word is not enough"
    assert out.room(0) == 0
    out.acknowledged("m1")
    assert out.done == {1}
    assert out.room(0) == 4


def test_acknowledged_before_the_puback() -> None:
    out = lane(CONFIRMED)
    send(out, 1)
    out.acknowledged("m1")
    out.answered(1, SUCCESS, "Success", 0)
    assert out.done == {1}


def test_unacknowledged_goes_back_and_late_acknowledgements_count() -> None:
    out = lane(CONFIRMED)
    send(out, 1)
    out.answered(1, SUCCESS, "Success", 0)
    out.tick(9.9)
    assert out.trouble == ""
    out.tick(10.0)
    assert out.trouble == "no subscriber has acknowledged it"
    assert out.room(11.0) == 1
    assert out.cursor == 0
    out.acknowledged("m1")
    assert out.done == {1}
    out.acknowledged("m1")
    out.acknowledged("never sent")
    assert out.done == {1}


def test_new_connection_forgets_the_old_ones_packet_ids() -> None:
    out = lane()
    send(out, 1)
    out.restart()
    out.answered(1, SUCCESS, "Success", 0)
    assert out.done == set()
    assert out.cursor == 0
    assert out.unanswered_s(99) == 0


def test_unanswered() -> None:
    out = lane()
    send(out, 1, now_s=5)
    assert out.unanswered_s(7) == 2


@settings(max_examples=300, deadline=None)
@given(
    confirmed=st.booleans(),
    window=st.integers(1, 5),
    steps=st.lists(st.sampled_from(["open", "shut", "answer", "forget", "reconnect", "wait"]), max_size=80),
)
def test_nothing_is_lost_or_overtaken(confirmed: bool, window: int, steps: list[str]) -> None:
    """A broker that takes or refuses, a consumer that may not get round to acknowledging, connections that break.

    It opens only while nothing is under way (see the module's docstring). Then: what the lane calls delivered did
    arrive, first arrivals are in order, and once all is well everything is delivered.
    """
    rules = Rules(window=window, require_subscriber=True, confirm_timeout_s=5.0 if confirmed else None)
    out = lane(rules)
    last, now_s, mid, is_open = 12, 0.0, 0, True
    under_way: dict[int, int] = {}  # packet id → seq
    arrived: list[int] = []

    def pump() -> None:
        nonlocal mid
        room = out.room(now_s)
        for seq in [seq for seq in range(out.cursor + 1, last + 1) if seq not in out.done][:room]:
            mid += 1
            out.sending(seq, f"m{seq}", mid, now_s)
            under_way[mid] = seq

    def answer(*, acknowledge: bool) -> None:
        if not under_way:
            return
        first = next(iter(under_way))
        seq = under_way.pop(first)
        if is_open and seq not in arrived:
            arrived.append(seq)
        out.answered(first, SUCCESS if is_open else NOT_AUTHORISED, "", now_s)
        if is_open and acknowledge:
            out.acknowledged(f"m{seq}")

    for step in steps:
        pump()
        if step == "open" and not under_way:
            is_open = True
        elif step == "shut":
            is_open = False
        elif step in ("answer", "forget"):
            answer(acknowledge=step == "answer")
        elif step == "reconnect":
            under_way.clear()
            out.restart()
        now_s += 20 if step == "wait" else 0.1
        out.tick(now_s)
        assert out.done <= set(arrived)
        assert len(under_way) <= window
    while under_way:
        answer(acknowledge=True)
    is_open = True
    for _ in range(200):
        now_s += 20
        out.tick(now_s)
        pump()
        while under_way:
            answer(acknowledge=True)
    assert out.done == set(range(1, last + 1))
    assert arrived == sorted(arrived)
    assert out.trouble == ""
