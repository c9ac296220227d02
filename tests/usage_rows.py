"""Rows of the usage ledger, and databases for it: a SQLite file, and a real PostgreSQL where one is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.config.prices import Quantities
from app.config.usage import UsageSettings
from app.usage.row import UsageRow
from tests import postgresql

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)
CHAT = Quantities(input_tokens=10, cached_tokens=4, output_tokens=2)
NO_POSTGRESQL = "PostgreSQL is not installed: initdb is neither on PATH nor in /usr/lib/postgresql"


def row(used: Quantities = CHAT, **changes: Any) -> UsageRow:
    """A chat of two tokens at NOON, with `changes` on top."""
    facts: dict[str, Any] = {
        "time": NOON.timestamp(),
        "request_id": "4f0c9e4c-0000-4000-8000-000000000000",
        "key_id": "web",
        "team_id": None,
        "model": "alpha",
        "route": "/v1/chat/completions",
        "status": 200,
        "reason": "ok",
        **used._asdict(),
        "is_estimate": False,
        "cost_millionths": 7,
        "adjustments": None,
    }
    return UsageRow(**(facts | changes))


@contextmanager
def running_server() -> Iterator[postgresql.PostgreSQL]:
    """A PostgreSQL that runs; where it is not installed, the test is skipped."""
    binaries = postgresql.programs()
    if binaries is None:
        pytest.skip(NO_POSTGRESQL)
    with postgresql.running(binaries) as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[postgresql.PostgreSQL]:
    with running_server() as running:
        yield running


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> UsageSettings:
    """A ledger's settings; its database is empty."""
    if request.param == "SQLite":
        return UsageSettings(database=f"sqlite:///{tmp_path}/usage.db")
    server: postgresql.PostgreSQL = request.getfixturevalue("server")
    return UsageSettings(database=server.new_database())
