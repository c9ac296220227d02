"""What is kept of a key: what is legal in it, and when the key is good."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic
import pytest

from app.keys import KeyEntry
from app.keys.entry import State

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HASH = "0123456789abcdef" * 4


def entry(**facts: Any) -> KeyEntry:
    return KeyEntry.model_validate({"id": "a" * 12, "sha256": HASH} | facts)


def test_a_key_may_use_every_model_600_times_a_minute_for_ever_unless_it_says_otherwise() -> None:
    plain = entry()
    assert plain.pipelines is None
    assert plain.budget.model_dump() == {
        "requests_per_minute": 600,
        "tokens_per_minute": None,
        "concurrent_requests": None,
    }
    assert plain.weight == 1
    assert plain.state_at(NOON) is State.ACTIVE


@pytest.mark.parametrize("weight", [0, -1, 1001, 1.5])
def test_a_weight_is_a_whole_number_from_1_to_1000(weight: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        entry(weight=weight)


def test_a_key_is_good_until_the_moment_it_expires() -> None:
    ending = entry(expires=NOON)
    assert ending.state_at(NOON - SECOND) is State.ACTIVE
    assert ending.state_at(NOON) is State.EXPIRED
    assert ending.state_at(NOON + SECOND) is State.EXPIRED


def test_a_revoked_key_is_never_good_again() -> None:
    assert entry(revoked=NOON, expires=NOON + SECOND).state_at(NOON - SECOND) is State.REVOKED


def test_moments_of_any_time_zone_are_kept_in_utc_and_survive_json() -> None:
    ending = entry(expires="2026-01-01T13:00:00+01:00")
    assert ending.expires == NOON
    assert '"expires":"2026-01-01T12:00:00Z"' in ending.model_dump_json()
    assert KeyEntry.model_validate_json(ending.model_dump_json()) == ending


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"id": "a" * 11}, "id"),
        ({"id": "a" * 11 + "-"}, "id"),
        ({"sha256": HASH.upper()}, "sha256"),
        ({"sha256": HASH + "\n"}, "sha256"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "\x1b[31m"}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"pipelines": ["a/b"]}, "pipelines"),
        ({"pipelines": "alpha"}, "pipelines"),
        ({"budget": {"requests_per_minute": 0}}, "budget"),
        ({"budget": {"tokens": 1}}, "budget"),
        ({"created": "2026-01-01"}, "created"),
        ({"expires": "2026-01-01T12:00:00"}, "expires"),
        ({"expires": "0001-01-01T00:00:00+23:00"}, "expires"),
        ({"rotated_from": "another"}, "rotated_from"),
        ({"revoked": True}, "revoked"),
        ({"models": ["alpha"]}, "models"),
    ],
)
def test_a_wrong_entry_names_the_field_and_never_the_hash(facts: dict[str, Any], field: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        entry(**facts)
    assert {error["loc"][0] for error in caught.value.errors()} == {field}
    assert HASH not in str(caught.value).lower()


def test_an_entry_that_is_printed_does_not_show_its_hash() -> None:
    assert HASH not in repr(entry())
