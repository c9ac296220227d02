"""What a team does to the requests of its keys: scope, shared rates, quotas of a month, headers, metrics, log."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.budgets.exact import ExactBudgets
from app.budgets.messages import UseReply
from app.budgets.store_link import StoreUnreachableError
from app.budgets.use import Use
from app.budgets.use_book import UseBook
from app.config.service import parse_config
from app.config.team import Monthly, Team, TokenQuota
from app.gateway.application import Gateway
from app.gateway.teams import TeamAccount, Teams
from app.keys import LOCAL_KEY, KeyEntry, hash_key, public_id
from app.telemetry.metrics import QuotaFigures
from app.upstream.registry import Registry
from contract.errors import ApiError
from contract.fields import ConfigError
from contract.protocol import ResponseHead, ResponseTail
from tests.unit.conftest import SCOPED_KEY, StandInRelay, assert_error, chat, client_of, config_args

CHAT = "/v1/chat/completions"
OTHER_KEY = "sk-portico-other0000000-" + "o" * 43
OUTSIDE_KEY = "sk-portico-outside00000-" + "x" * 43
MONTH_END = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
USAGE = {"prompt_tokens": 10, "completion_tokens": 90, "prompt_tokens_details": {"cached_tokens": 4}}
PRICES = {"million_input_tokens": 1000, "million_cached_tokens": 500, "million_output_tokens": 10_000}


def key(secret: str, **facts: Any) -> dict[str, Any]:
    return {"id": public_id(secret), "sha256": hash_key(secret)} | facts


def args(**team: Any) -> dict[str, Any]:
    models = [model | {"prices": PRICES} for model in config_args()["models"]]
    return config_args(
        models=models,
        teams=[{"id": "acme"} | team],
        keys=[
            key(LOCAL_KEY, team="acme"),
            key(OTHER_KEY, team="acme"),
            key(SCOPED_KEY, team="acme", pipelines=["beta"]),
            key(OUTSIDE_KEY),
        ],
        budgets={"snapshot": "/var/lib/portico/budgets.json"},
    )


class Clock:
    """Unix time, and the budgets' nanoseconds."""

    now = MONTH_END - 86_400.0

    def nanoseconds(self) -> int:
        return int(self.now * 10**9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book() -> UseBook:
    return UseBook()


@pytest.fixture
def make(
    make_gateway: Callable[..., Gateway], registry: Registry, clock: Clock, book: UseBook
) -> Callable[..., Gateway]:
    """A gateway with one team."""

    def make(**team: Any) -> Gateway:
        config = parse_config(args(**team))
        for entry in config.models:
            registry._models[entry.id].entry = entry
        return make_gateway(config, budgets=ExactBudgets(clock.nanoseconds), book=book, now=lambda: clock.now)

    return make


async def post(gateway: Gateway, secret: str = LOCAL_KEY, **changes: Any) -> httpx.Response:
    async with client_of(gateway, secret) as client:
        return await client.post(CHAT, json=chat(**changes))


async def models(gateway: Gateway, secret: str) -> list[str]:
    async with client_of(gateway, secret) as client:
        return [model["id"] for model in (await client.get("/v1/models")).json()["data"]]


class TestConfiguration:
    @pytest.mark.parametrize(
        ("changes", "reported"),
        [
            ({"teams": [{"id": "acme"}, {"id": "acme"}]}, "the id 'acme' stands there twice"),
            ({"teams": []}, "names the team 'acme', which is not in `teams`"),
            ({"teams": [{"id": "acme", "pipelines": ["gamma"]}]}, "teams: acme names the model 'gamma'"),
            ({"teams": [{"id": "a:b"}]}, "teams[0].id"),
            (
                {"teams": [{"id": "acme", "monthly": {"tokens": {"soft": 5, "hard": 5}}}]},
                "teams[0].monthly.tokens: `soft`, from which on a header warns, must be less than `hard`",
            ),
            (
                {"teams": [{"id": "acme", "monthly": {"cost": {"hard": 0.5}}}], "budgets": {}},
                "budgets.snapshot: teams have monthly quotas, so it must name a place that outlives the cluster",
            ),
        ],
    )
    def test_what_is_wrong_in_it_is_named(self, changes: dict[str, Any], reported: str) -> None:
        with pytest.raises(ConfigError) as error:
            parse_config(args() | changes)
        assert reported in str(error.value)


class TestScope:
    async def test_a_key_may_use_what_both_it_and_its_team_may(self, make: Any) -> None:
        gateway = make(pipelines=["alpha"])
        assert await models(gateway, LOCAL_KEY) == ["alpha"]
        assert await models(gateway, SCOPED_KEY) == []
        assert await models(gateway, OUTSIDE_KEY) == ["alpha", "beta"]
        assert (await post(gateway)).status_code == 200
        for secret in (LOCAL_KEY, SCOPED_KEY):
            assert_error(await post(gateway, secret, model="beta"), 403, "permission_error", "model_not_allowed")

    async def test_a_team_without_pipelines_narrows_nothing(self, make: Any) -> None:
        gateway = make()
        assert await models(gateway, LOCAL_KEY) == ["alpha", "beta"]
        assert await models(gateway, SCOPED_KEY) == ["beta"]

    async def test_a_key_of_a_team_that_is_not_there_is_refused_and_logged_once(
        self, make: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As one of the key file may be."""
        gateway = make()
        for _ in range(3):  # the file is read again
            stray = KeyEntry.model_validate(key(OUTSIDE_KEY, team="gone"))
            gateway._keys._entries[stray.id] = stray
            refused = await post(gateway, OUTSIDE_KEY)
            assert_error(refused, 401, "authentication_error", "invalid_api_key")
        assert "belongs to a team that is not here" in refused.json()["error"]["message"]
        (line,) = [one for one in caplog.messages if "its team gone is not in the configuration" in one]
        assert stray.id in line


class TestRates:
    async def test_two_keys_share_them_and_a_key_outside_does_not(self, make: Any, clock: Clock) -> None:
        gateway = make(budget={"requests_per_minute": 20})
        assert [(await post(gateway, one)).status_code for one in (LOCAL_KEY, OTHER_KEY, LOCAL_KEY)] == [200, 200, 429]
        refused = await post(gateway, OTHER_KEY)
        assert_error(refused, 429, "rate_limit_error", "rate_limit_exceeded")
        assert refused.json()["error"]["message"] == (
            "The budget of this key's team `acme` is spent. Rate limit reached for requests: 20 per minute. "
            "Retry in 3 s."
        )
        assert refused.headers["retry-after"] == "3"
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert (await post(gateway, OUTSIDE_KEY)).status_code == 200
        clock.now += 3
        assert (await post(gateway, OTHER_KEY)).status_code == 200

    async def test_the_headers_promise_no_more_than_the_team_has(self, make: Any) -> None:
        gateway = make(budget={"requests_per_minute": 300, "tokens_per_minute": 6000})
        headers = (await post(gateway)).headers
        assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("300", "29")
        assert headers["x-ratelimit-limit-tokens"] == "6000"
        assert "x-ratelimit-limit-tokens" not in (await post(gateway, OUTSIDE_KEY)).headers

    async def test_tokens_are_reserved_for_the_team_where_the_key_has_no_limit_of_them(
        self, make: Any, relay: StandInRelay
    ) -> None:
        gateway = make(budget={"tokens_per_minute": 6000})
        relay.items = [ResponseHead(200, body=b"{}", usage={"prompt_tokens": 10, "completion_tokens": 400})]
        assert (await post(gateway, max_tokens=590)).status_code == 200
        refused = await post(gateway, OTHER_KEY, max_tokens=590)
        assert "team `acme` is spent. Rate limit reached for tokens: 6000" in refused.json()["error"]["message"]
        assert (await post(gateway, OTHER_KEY, max_tokens=150)).status_code == 200


class TestMonth:
    @pytest.fixture(autouse=True)
    def _usage(self, relay: StandInRelay) -> None:
        relay.items = [ResponseHead(200, body=b"{}", usage=USAGE)]

    async def test_at_the_hard_limit_requests_are_refused_until_the_month_ends(self, make: Any, clock: Clock) -> None:
        gateway = make(monthly={"tokens": {"hard": 200}})
        assert [(await post(gateway, one)).status_code for one in (LOCAL_KEY, OTHER_KEY)] == [200, 200]
        refused = await post(gateway)
        assert_error(refused, 429, "rate_limit_error", "insufficient_quota")
        assert refused.json()["error"]["message"] == (
            "The monthly quota of this key's team `acme` is spent: 200 of 200 tokens are used. It begins anew on "
            "2026-12-01 at 00:00 UTC, in 86400 s. Ask the operator for a larger one."
        )
        assert refused.headers["retry-after"] == "86400"
        assert (await post(gateway, OUTSIDE_KEY)).status_code == 200
        clock.now += 86_400
        assert (await post(gateway)).status_code == 200

    async def test_cost_is_counted_by_the_model_s_prices(self, make: Any, book: UseBook) -> None:
        gateway = make(monthly={"cost": {"hard": 1.5}})
        assert [(await post(gateway)).status_code for _ in range(3)] == [200, 200, 429]
        assert book.total("team:acme", "2026-11") == Use(200, 2 * (6 * 1000 + 4 * 500 + 90 * 10_000))
        message = (await post(gateway)).json()["error"]["message"]
        assert "1.816 of 1.500 in cost, by the models' prices, are used" in message

    async def test_from_the_soft_limit_on_a_header_and_one_line_say_so(
        self, make: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        gateway = make(monthly={"tokens": {"soft": 150, "hard": 1000}, "cost": {"soft": 1.5}})
        with caplog.at_level(logging.WARNING, "portico.teams"):
            assert "x-budget-notice" not in (await post(gateway)).headers
            await post(gateway)
            answer = await post(gateway, OTHER_KEY)
        assert answer.status_code == 200
        assert answer.headers["x-budget-notice"] == (
            "team-monthly-tokens;used=200;soft=150;hard=1000, team-monthly-cost;used=1.816;soft=1.500"
        )
        assert "x-budget-notice" not in (await post(gateway, OUTSIDE_KEY)).headers
        assert caplog.messages == [
            "the team acme has passed a soft limit in 2026-11: team-monthly-tokens;used=200;soft=150;hard=1000",
            "the team acme has passed a soft limit in 2026-11: team-monthly-cost;used=1.816;soft=1.500",
        ]

    async def test_a_stream_is_charged_when_it_ends_and_what_fails_costs_nothing(
        self, make: Any, relay: StandInRelay, book: UseBook
    ) -> None:
        gateway = make(monthly={"tokens": {"hard": 10_000}})
        relay.items = [ResponseHead(200, "text/event-stream"), b"data: {}\n\n", ResponseTail(USAGE)]
        await post(gateway, stream=True)
        relay.items = [ApiError("upstream_error", "failed")]
        await post(gateway)
        assert book.total("team:acme", "2026-11").tokens == 100

    async def test_a_quota_that_is_spent_takes_nothing_of_the_key_s_budget(self, make: Any, book: UseBook) -> None:
        gateway = make(monthly={"tokens": {"hard": 1}})
        book.count("team:acme", "2026-11", Use(1))
        remaining = {(await post(gateway)).headers["x-ratelimit-remaining"] for _ in range(3)}
        assert remaining == {"60"}

    def test_the_metrics_show_each_quota(self, clock: Clock, book: UseBook) -> None:
        config = parse_config(args(monthly={"tokens": {"soft": 150}, "cost": {"soft": 1.5, "hard": 2}}))
        teams = Teams(config.teams, ExactBudgets(), book, lambda: clock.now)
        book.count("team:acme", "2026-11", Use(100, 250_000))
        assert list(teams.figures()) == [
            QuotaFigures("acme", "tokens", 100, {"soft": 150}),
            QuotaFigures("acme", "cost", 0.25, {"soft": 1.5, "hard": 2}),
        ]


class TestOneThatHasJustBegun:
    async def test_it_asks_the_store_before_it_admits(self, make: Any, book: UseBook) -> None:
        gateway = make(monthly={"tokens": {"hard": 100}})

        class Link:
            async def use(self, report: Any) -> Any:
                return UseReply({account: {"2026-11": Use(100)} for account in report.use})

        link: Any = Link()
        book.follow(["team:acme"], [link])
        assert (await post(gateway)).status_code == 429


async def test_the_log_line_names_the_team(make: Any, log_lines: list[bytes]) -> None:
    gateway = make()
    await post(gateway)
    await post(gateway, OUTSIDE_KEY)
    assert [json.loads(line)["team"] for line in log_lines] == ["acme", None]


@pytest.fixture
async def outside(make: Any) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(make(budget={"requests_per_minute": 1}), OUTSIDE_KEY) as client:
        yield client


async def test_a_key_without_a_team_waits_for_nothing_more(outside: httpx.AsyncClient, monkeypatch: Any) -> None:
    """The common path: no account, no quota, no composed admission."""

    def never(*_: Any) -> Any:
        raise AssertionError("a team was asked")

    for name in ("admission", "require_quota", "charge", "notice"):
        monkeypatch.setattr(f"app.gateway.teams.TeamAccount.{name}", never)
    assert (await outside.post(CHAT, json=chat())).status_code == 200


async def test_requests_of_a_team_that_is_not_known_yet_wait_for_the_store_together() -> None:
    class Away:
        calls = 0

        async def use(self, _: Any) -> Any:
            self.calls += 1
            await asyncio.sleep(0.05)
            raise StoreUnreachableError

    team, book, away = Team(id="t", monthly=Monthly(tokens=TokenQuota(hard=1000))), UseBook(), Away()
    account = TeamAccount(team, ExactBudgets(), book, time.time)
    book.follow([account.name], [away])
    await asyncio.gather(*(account.require_quota() for _ in range(12)))
    assert away.calls == 1
