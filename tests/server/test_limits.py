from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from server.limits import Bucket, Limits, TooManyError, place


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_so_many_a_minute() -> None:
    clock = _Clock()
    bucket = Bucket(6, 3, clock=clock)
    for _ in range(3):
        bucket.take("ada")
    with pytest.raises(TooManyError, match="wait 10 s") as told:
        bucket.take("ada")
    assert (told.value.status, told.value.wait_s) == (429, 10)
    bucket.take("grace")  # has a bucket of her own
    clock.now = 9.9
    with pytest.raises(TooManyError, match="wait 1 s"):
        bucket.take("ada")
    clock.now = 10.1
    bucket.take("ada")
    clock.now = 10_000
    for _ in range(3):  # never more than the burst
        bucket.take("ada")
    with pytest.raises(TooManyError):
        bucket.take("ada")


def test_it_stays_small_however_many_come() -> None:
    bucket = Bucket(6, 1, most=100, clock=_Clock())
    bucket.take("ada")
    for number in range(99):
        bucket.take(f"other {number}")
    with pytest.raises(TooManyError):
        bucket.take("ada")
    for number in range(5000):
        bucket.take(f"another {number}")
    assert len(bucket) == 100


def test_threads_share_what_is_left() -> None:
    bucket = Bucket(6, 50, clock=_Clock())

    def take(_: int) -> bool:
        try:
            bucket.take("ada")
        except TooManyError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(400))) == 50


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_what_counts_as_one_address(address: str, counts_as: str) -> None:
    assert place(address) == counts_as


def test_the_server_s_limits_let_a_ward_in_and_no_machine() -> None:
    limits = Limits(clock=_Clock())
    for _ in range(30):
        limits.login.take("192.0.2.1")
    with pytest.raises(TooManyError):
        limits.login.take("192.0.2.1")
