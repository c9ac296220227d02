"""GET /admin/usage and GET /admin/teams: what everybody has used."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.config.prices import Quantities
from app.keys import hash_key, public_id
from app.usage.ledger import UsageLedger
from app.usage.link import LedgerUnreachableError
from app.usage.question import Question, Sum
from tests.admin.test_keys import ADMIN_KEY
from tests.console.stand_in import SCOPED_KEY, config, front
from tests.unit.conftest import assert_error, client_of

TEAM = {"id": "search", "name": "Search", "monthly": {"tokens": {"soft": 1000, "hard": 2000}, "cost": {"hard": 2.5}}}
CHANGES: dict[str, Any] = {
    "admin": {"enabled": True},
    "budgets": {"snapshot": "/tmp/budgets.json"},  # noqa: S108 - nothing is written there
    "teams": [TEAM, {"id": "free"}],
    "keys": [
        {"id": public_id(ADMIN_KEY), "sha256": hash_key(ADMIN_KEY), "scopes": ["admin"]},
        {"id": public_id(SCOPED_KEY), "sha256": hash_key(SCOPED_KEY), "team": "search"},
    ],
}
SUM = Sum({"team": "search", "day": "2027-01-31"}, 3, Quantities(30, 12, 6), 1_250_000)


class Sender:
    """Answers as the ledger would."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.fails = False

    async def ask(self, question: Question) -> list[Sum]:
        self.asked.append(question)
        if self.fails:
            raise LedgerUnreachableError
        return [SUM]


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def client(sender: Sender) -> Any:
    ledger = UsageLedger(sender, config(**CHANGES))  # type: ignore[arg-type]
    return client_of(front(ledger=ledger, **CHANGES), ADMIN_KEY)


class TestUsage:
    async def test_it_is_of_everybody_and_grouped_as_asked(self, client: Any, sender: Sender) -> None:
        query = {"by": "day,team", "since": "2027-01-01", "until": "2027-02-01", "model": "ready-chat"}
        page = (await client.get("/admin/usage", params=query)).json()
        (bucket,) = page["data"]
        assert bucket["start_time"] == datetime(2027, 1, 31, tzinfo=UTC).timestamp()
        assert (bucket["results"][0]["team"], bucket["results"][0]["input_tokens"]) == ("search", 30)
        assert bucket["results"][0]["amount"]["value"] == 1.25
        (question,) = sender.asked
        assert (question.by, question.where) == (("day", "team"), {"model": "ready-chat"})

    @pytest.mark.parametrize(
        ("query", "code", "param"),
        [("by=colour", "invalid_value", "by"), ("key_id=1", "unsupported_parameter", "key_id"),
         ("since=tomorrow", "invalid_value", "since")],
    )  # fmt: skip
    async def test_a_wrong_question_is_named(self, client: Any, query: str, code: str, param: str) -> None:
        assert_error(await client.get(f"/admin/usage?{query}"), 400, "invalid_request_error", code, param)

    async def test_a_ledger_that_is_away_is_503(self, client: Any, sender: Sender) -> None:
        sender.fails = True
        response = await client.get("/admin/usage")
        assert_error(response, 503, "server_error", "overloaded")
        assert int(response.headers["retry-after"]) > 0

    async def test_without_a_ledger_it_says_so(self) -> None:
        async with client_of(front(**CHANGES), ADMIN_KEY) as client:
            assert_error(await client.get("/admin/usage"), 409, "invalid_request_error", "conflict")


async def test_teams_have_their_keys_and_what_they_have_used_of_each_quota(client: Any) -> None:
    search, free = (await client.get("/admin/teams")).json()["data"]
    assert (search["id"], search["name"], search["pipelines"]) == ("search", "Search", None)
    assert search["keys"] == [public_id(SCOPED_KEY)]
    assert search["monthly"] == {
        "tokens": {"used": 1234, "soft": 1000, "hard": 2000}, "cost": {"used": 0, "soft": None, "hard": 2.5},
    }  # fmt: skip
    assert (free["monthly"], free["keys"]) == ({}, [])
