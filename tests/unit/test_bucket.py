"""The leaky bucket: exact, and bounded in every window."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.budgets.bucket import MINUTE, Bucket, burst_of

SECOND = 10**9
LIMITS = st.integers(1, 10**7)
YEAR = 365 * 24 * 3600 * SECOND


@pytest.mark.parametrize(("limit", "burst"), [(1, 1), (9, 1), (10, 1), (19, 1), (20, 2), (600, 60)])
def test_the_burst_is_a_tenth_and_at_least_one(limit: int, burst: int) -> None:
    bucket = Bucket(limit, 0)
    assert (burst_of(limit), bucket.whole(0)) == (burst, burst)
    assert all(bucket.take(1, 0) for _ in range(burst))
    assert not bucket.take(1, 0)


def test_it_gains_the_limit_evenly() -> None:
    bucket = Bucket(60, 0, level=0)
    assert not bucket.take(1, SECOND - 1)
    assert bucket.take(1, SECOND)


@given(LIMITS, st.integers(1, 100), st.integers(0, MINUTE))
def test_who_waits_exactly_so_long_succeeds_and_a_nanosecond_less_does_not(limit: int, amount: int, now: int) -> None:
    bucket = Bucket(limit, 0, level=0)
    wait = bucket.wait(amount, now)
    assert wait == 0 or not bucket.take(amount, now + wait - 1)
    assert bucket.take(amount, now + wait)


@given(LIMITS, st.lists(st.tuples(st.integers(0, MINUTE), st.integers(1, 50)), max_size=60))
def test_every_window_holds_at_most_the_burst_and_what_was_gained(limit: int, requests: list[tuple[int, int]]) -> None:
    bucket, now, taken = Bucket(limit, 0), 0, []
    for step, amount in requests:
        now += step
        if amount <= bucket.burst and bucket.take(amount, now):
            taken.append((now, amount))
    for i, (start, _) in enumerate(taken):
        for j in range(i, len(taken)):
            window = taken[j][0] - start
            assert sum(amount for _, amount in taken[i : j + 1]) <= bucket.burst + Fraction(limit * window, MINUTE)


def test_nothing_drifts_over_a_year() -> None:
    """A limit that no power of two divides, taken at odd times for a year: exactly the limit was given."""
    limit, step = 7, 59_999_999_983  # nanoseconds; a prime, just under a minute
    bucket, now, taken = Bucket(limit, 0, level=0, burst=100), 0, 0
    while now < YEAR:
        now += step
        there = bucket.whole(now)
        assert bucket.take(there, now)
        taken += there
    assert taken == limit * now // MINUTE


@given(LIMITS, st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_reservation_that_is_settled_costs_what_was_used(limit: int, reserved: int, used: int) -> None:
    settled, direct = Bucket(limit, 0), Bucket(limit, 0)
    if used > direct.burst:
        return
    settled.take(reserved, 0)
    settled.give(reserved - used, 0)
    direct.take(used, 0)
    assert settled.whole(0) == direct.whole(0)


def test_what_can_never_fit_is_taken_from_a_full_bucket_as_a_debt() -> None:
    bucket = Bucket(60, 0)  # holds 6
    assert bucket.take(66, 0)
    assert bucket.whole(0) == -60
    assert bucket.wait(1, 0) == 61 * SECOND
    assert bucket.wait(66, 0) == 66 * SECOND, "full again"


def test_it_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(60, 0)
    bucket.give(1000, 0)
    assert bucket.whole(YEAR) == 6
    assert bucket.full_in(YEAR) == 0


def test_another_limit_holds_from_now_on() -> None:
    bucket = Bucket(600, 0)
    bucket.resize(60, 0)
    assert bucket.whole(0) == 6
    bucket.resize(6000, SECOND)
    assert bucket.whole(SECOND) == 6
    assert bucket.whole(2 * SECOND) == 106
