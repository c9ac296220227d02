"""How keys are shown to the operator."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.keys import KeyEntry
from app.keys.report import table

HASH = "0123456789abcdef" * 4
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
TABLE = """
id            name  team  scope  requests/min  tokens/min  concurrent  weight  created (UTC)     expires (UTC)     state
aaaaaaaaaaaa  web   -     x, y   600           -           -           1       2025-12-31 12:00  -                 active
bbbbbbbbbbbb  -     acme  x      60            90          4           5       -                 -                 active
cccccccccccc  -     -     x      600           -           -           1       -                 2026-01-01 15:00  expires in 3 h
dddddddddddd  -     -     x      600           -           -           1       -                 2026-01-01 12:00  expired
eeeeeeeeeeee  -     -     none   600           -           -           1       -                 2026-01-02 12:00  revoked
"""  # noqa: E501


def test_a_key_is_a_line_of_aligned_columns() -> None:
    limits = {"requests_per_minute": 60, "tokens_per_minute": 90, "concurrent_requests": 4}
    entries: list[dict[str, Any]] = [
        {"id": "a" * 12, "name": "web", "pipelines": ["x", "y"], "created": NOON - DAY},
        {"id": "b" * 12, "team": "acme", "pipelines": ["x"], "budget": limits, "weight": 5},
        {"id": "c" * 12, "pipelines": ["x"], "expires": NOON + DAY / 8},
        {"id": "d" * 12, "pipelines": ["x"], "expires": NOON},
        {"id": "e" * 12, "pipelines": [], "revoked": NOON, "expires": NOON + DAY},
    ]
    shown = table([KeyEntry.model_validate(entry | {"sha256": HASH}) for entry in entries], NOON)
    assert shown == TABLE.strip()


@pytest.mark.parametrize(
    ("left", "reported"),
    [(2 * DAY, "2 d"), (DAY - MINUTE, "23 h"), (59 * MINUTE, "59 min"), (MINUTE / 2, "under 1 min")],
)
def test_the_time_left_is_reported_in_its_largest_unit(left: timedelta, reported: str) -> None:
    entry = KeyEntry(id="a" * 12, sha256=HASH, expires=NOON + left)
    assert table([entry], NOON).endswith(f"expires in {reported}")
