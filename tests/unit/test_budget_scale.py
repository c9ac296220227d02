"""The simulation of many gateway replicas and keys: limits hold, and nobody is refused for nothing."""

import pytest

from benchmarks.budget_scale import CallCosts, Setting, simulate, store_row

COSTS = CallCosts(call=0.0005, message=0.00005)
SECONDS = 2.5


@pytest.mark.parametrize("stores", [1, 3])
@pytest.mark.parametrize("keys", [1, 20, 2000])
@pytest.mark.parametrize("batches", [True, False], ids=["batches", "one message a call"])
def test_limits_hold_within_the_burst_and_one_per_cent(keys: int, stores: int, batches: bool) -> None:
    row = simulate(Setting(12, keys, stores, batches, SECONDS), COSTS)
    assert row["requests_per_s"] == pytest.approx(240, rel=0.2), "the load was there"
    assert row["admitted_beyond_bound"] == 0
    assert row["refused_under_limit"] == 0
    assert row["replicas_without_store"] == 0
    assert row["admitted_of_exact"] == pytest.approx(1, abs=0.01)


def test_one_slow_store_costs_time_and_no_limit() -> None:
    """A call takes so long that the store has more to do than it can: requests wait, and batches grow."""
    row = simulate(Setting(12, 20, 1, True, SECONDS), CallCosts(call=0.02, message=0.00005))
    assert row["admitted_beyond_bound"] == 0
    assert row["refused_under_limit"] == 0
    assert row["replicas_without_store"] == 0


def test_the_same_load_gives_the_same_decisions() -> None:
    first, second = (simulate(Setting(5, 20, 2, True, 1), COSTS) for _ in range(2))
    decided = [name for name in first if name not in ("handler_us", "wire_us", "busy")]
    assert [first[name] for name in decided] == [second[name] for name in decided]


def test_a_store_remembers_only_accounts_in_debt() -> None:
    row = store_row(keys=500, overdrawn=0.1)
    assert (row["keys"], row["in_debt"]) == (500, 50)
    assert 0 < row["bytes_per_key"] < 4096
