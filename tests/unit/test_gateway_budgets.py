"""What budgets do to a request: the order, the headers, the 429, and what is charged in the end."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.budgets.exact import ExactBudgets
from app.config.service import parse_config
from app.gateway.application import Gateway
from app.keys import LOCAL_KEY, hash_key, public_id
from contract.errors import ApiError
from contract.profile import Profile
from contract.protocol import ResponseHead, ResponseTail
from tests.unit.conftest import SCOPED_KEY, StandInRelay, assert_error, chat, client_of, config_args

CHAT = "/v1/chat/completions"
SECOND = 10**9
OPENAI_HEADERS = [f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset")]
HEADERS = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", *OPENAI_HEADERS]


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock()


@pytest.fixture
def budgeted(make_gateway: Callable[..., Gateway], clock: Clock) -> Callable[..., httpx.AsyncClient]:
    """A client whose key has the given budget."""

    def make(**budget: int) -> httpx.AsyncClient:
        keys = [
            {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "budget": budget},
            {"id": public_id(SCOPED_KEY), "sha256": hash_key(SCOPED_KEY), "pipelines": ["beta"]},
        ]
        gateway = make_gateway(parse_config(config_args(keys=keys)))
        gateway._budgets = ExactBudgets(clock)
        return client_of(gateway)

    return make


async def test_a_spent_budget_is_a_429_and_waiting_for_retry_after_is_enough(
    budgeted: Any, clock: Clock, relay: Any
) -> None:
    async with budgeted(requests_per_minute=20) as client:
        assert [(await client.post(CHAT, json=chat())).status_code for _ in range(3)] == [200, 200, 429]
        refused = await client.post(CHAT, json=chat())
        assert_error(refused, 429, "rate_limit_error", "rate_limit_exceeded")
        assert "requests: 20 per minute" in refused.json()["error"]["message"]
        clock.now += int(refused.headers["retry-after"]) * SECOND
        assert (await client.post(CHAT, json=chat())).status_code == 200
    assert len(relay.sent) == 3


async def test_two_keys_share_no_budget(make_gateway: Any) -> None:
    gateway = make_gateway(parse_config(config_args()))
    async with client_of(gateway) as one, client_of(gateway, SCOPED_KEY) as other:
        while (await one.post(CHAT, json=chat())).status_code != 429:
            pass
        assert (await other.post(CHAT, json=chat(model="beta"))).status_code == 200


class TestHeaders:
    @pytest.mark.parametrize(
        ("method", "path"), [("POST", CHAT), ("GET", "/v1/models"), ("POST", "/v1/nowhere"), ("GET", CHAT)]
    )
    async def test_they_stand_on_every_response_to_a_known_key(self, budgeted: Any, method: str, path: str) -> None:
        async with budgeted(requests_per_minute=600) as client:
            response = await client.request(method, path, json=chat())
        assert [name for name in HEADERS if name not in response.headers] == []
        assert response.headers["x-ratelimit-limit"] == response.headers["x-ratelimit-limit-requests"] == "600"

    @pytest.mark.parametrize(("path", "key"), [("/health", LOCAL_KEY), ("/v1/models", "sk-unknown")])
    async def test_and_on_no_other(self, make_gateway: Any, path: str, key: str) -> None:
        async with client_of(make_gateway(), key) as client:
            response = await client.get(path)
        assert not any(name.startswith("x-ratelimit") for name in response.headers)

    async def test_they_count_down_and_show_when_all_is_there_again(self, budgeted: Any, clock: Clock) -> None:
        async with budgeted(requests_per_minute=600) as client:
            for left in (59, 58):
                response = await client.post(CHAT, json=chat())
                assert response.headers["x-ratelimit-remaining"] == str(left)
        assert response.headers["x-ratelimit-reset-requests"] == "200ms"
        assert abs(int(response.headers["x-ratelimit-reset"]) - time.time()) < 5

    async def test_tokens_are_shown_where_they_are_counted(self, budgeted: Any) -> None:
        async with budgeted(requests_per_minute=600, tokens_per_minute=60_000) as client:
            response = await client.get("/v1/models")
            assert response.headers["x-ratelimit-limit-tokens"] == "60000"
            assert response.headers["x-ratelimit-remaining-tokens"] == "6000"
        async with budgeted(requests_per_minute=600) as client:
            assert "x-ratelimit-limit-tokens" not in (await client.get("/v1/models")).headers

    async def test_the_list_of_models_costs_nothing(self, budgeted: Any) -> None:
        async with budgeted(requests_per_minute=1) as client:
            for _ in range(5):
                assert (await client.get("/v1/models")).status_code == 200
            assert (await client.post(CHAT, json=chat())).status_code == 200


class TestOrder:
    async def test_a_model_that_is_not_there_comes_before_the_budget(self, budgeted: Any) -> None:
        async with budgeted(requests_per_minute=1) as client:
            for _ in range(3):
                assert (await client.post(CHAT, json=chat(model="nothing"))).status_code == 404

    async def test_the_budget_comes_before_the_parameters(self, budgeted: Any) -> None:
        async with budgeted(requests_per_minute=1) as client:
            statuses = [(await client.post(CHAT, json=chat(temperature="hot"))).status_code for _ in range(2)]
        assert statuses == [400, 429]


class TestTokens:
    """A key of 6,000 tokens a minute has 600 at once; `chat()` is about one token of prompt."""

    BUDGET: dict[str, int] = {"requests_per_minute": 6000, "tokens_per_minute": 6000}  # noqa: RUF012

    async def left(self, client: httpx.AsyncClient) -> int:
        return int((await client.get("/v1/models")).headers["x-ratelimit-remaining-tokens"])

    async def test_prompt_and_limit_are_reserved(self, budgeted: Any, relay: StandInRelay) -> None:
        relay.items = [ApiError("overloaded", "busy")]
        async with budgeted(**self.BUDGET) as client:
            assert (await client.post(CHAT, json=chat(max_tokens=590))).status_code == 503
            relay.items = [ResponseHead(200, body=b"{}", usage={"prompt_tokens": 10, "completion_tokens": 300})]
            assert (await client.post(CHAT, json=chat(max_tokens=590))).status_code == 200
            refused = await client.post(CHAT, json=chat(max_tokens=590))
        assert refused.status_code == 429
        assert "tokens: 6000 per minute" in refused.json()["error"]["message"]

    async def test_what_was_used_is_charged(self, budgeted: Any, relay: StandInRelay) -> None:
        relay.items = [ResponseHead(200, body=b"{}", usage={"prompt_tokens": 10, "completion_tokens": 90})]
        async with budgeted(**self.BUDGET) as client:
            await client.post(CHAT, json=chat(max_tokens=590))
            assert await self.left(client) == 500

    async def test_counting_tokens_costs_a_request_and_no_token(
        self, budgeted: Any, relay: StandInRelay, registry: Any
    ) -> None:
        registry.learn("alpha", Profile("vllm", frozenset({"chat", "tokenize"})))
        relay.items = [ResponseHead(200, body=b"{}")]
        bodies: dict[str, dict[str, Any]] = {
            "/v1/tokenize": {"prompt": "a" * 4000},
            "/v1/detokenize": {"tokens": [1] * 4000},
            "/v1/responses/input_tokens": {"input": "a" * 4000},
        }
        async with budgeted(requests_per_minute=30, tokens_per_minute=6000) as client:
            for number, (path, body) in enumerate(bodies.items(), 1):
                headers = (await client.post(path, json={"model": "alpha"} | body)).headers
                assert headers["x-ratelimit-remaining-requests"] == str(3 - number)
                assert headers["x-ratelimit-remaining-tokens"] == "600"
            assert (await client.post("/v1/tokenize", json={"model": "alpha", "prompt": "a"})).status_code == 429

    @pytest.mark.parametrize("reported", [False, True])
    async def test_of_a_stream_too_whether_it_reports_its_usage_or_not(
        self, budgeted: Any, relay: StandInRelay, reported: bool
    ) -> None:
        usage = {"prompt_tokens": 10, "completion_tokens": 90}
        relay.items = [ResponseHead(200, "text/event-stream"), b"data: {}\n\n", ResponseTail(usage)]
        async with budgeted(**self.BUDGET) as client:
            await client.post(CHAT, json=chat(stream=True, stream_options={"include_usage": reported}))
            assert await self.left(client) == 500

    @pytest.mark.parametrize("code", ["upstream_error", "overloaded", "invalid_image"])
    async def test_a_failure_before_the_first_byte_costs_no_tokens(
        self, budgeted: Any, relay: StandInRelay, code: str
    ) -> None:
        relay.items = [ApiError(code, "failed")]
        async with budgeted(**self.BUDGET) as client:
            await client.post(CHAT, json=chat(max_tokens=500))
            assert await self.left(client) == 600

    async def test_a_refused_parameter_costs_no_tokens(self, budgeted: Any) -> None:
        async with budgeted(**self.BUDGET) as client:
            await client.post(CHAT, json=chat(max_tokens=500, temperature="hot"))
            assert await self.left(client) == 600

    async def test_a_stream_that_breaks_costs_what_was_seen_of_it(self, budgeted: Any, relay: StandInRelay) -> None:
        relay.items = [ResponseHead(200, "text/event-stream"), b"data: {}\n\n" * 30, ApiError("upstream_error", "gone")]
        async with budgeted(**self.BUDGET) as client:
            await client.post(CHAT, json=chat(stream=True, max_tokens=500))
            assert 565 <= await self.left(client) <= 569

    async def test_what_timed_out_is_not_known_and_so_its_reservation_stands(
        self, budgeted: Any, relay: StandInRelay
    ) -> None:
        relay.items = [ApiError("timeout", "slow")]
        async with budgeted(**self.BUDGET) as client:
            await client.post(CHAT, json=chat(max_tokens=500))
            assert await self.left(client) <= 100


class TestTokensOfImages:
    """A key of 60,000 tokens a minute has 6,000 at once; an image of 512 pixels a side counts as 1,024."""

    IMAGES_PROFILE = Profile(
        engine="diffusers",
        capabilities=frozenset({"images"}),
        limits={"max_images": 4, "size_multiple": 8, "max_side": 1024, "default_width": 512, "default_height": 512},
    )
    IMAGES = "/v1/images/generations"
    STREAM: list[Any] = [ResponseHead(200, "text/event-stream"), b"event: x\ndata: {}\n\n"]  # noqa: RUF012

    @pytest.fixture
    def budgeted_images(self, budgeted: Any, registry: Any) -> Any:
        registry.learn("alpha", self.IMAGES_PROFILE)
        return budgeted(requests_per_minute=6000, tokens_per_minute=60_000)

    async def left(self, client: httpx.AsyncClient) -> int:
        return int((await client.get("/v1/models")).headers["x-ratelimit-remaining-tokens"])

    @pytest.mark.parametrize(
        ("parameters", "tokens"),
        [
            ({}, 1024),
            ({"n": 3}, 3 * 1024),
            ({"n": 10**9}, 4 * 1024),
            ({"size": "1000x512"}, 63 * 32),
            ({"size": "auto", "n": 2}, 2 * 1024),
            ({"n": 4, "stream": True}, 1024),
            ({"size": "none"}, 0),
        ],
    )
    async def test_images_are_reserved(
        self, budgeted_images: Any, relay: StandInRelay, parameters: Any, tokens: int
    ) -> None:
        relay.items = [ApiError("timeout", "slow")]  # so that the reservation stands
        async with budgeted_images as client:
            await client.post(self.IMAGES, json={"model": "alpha", "prompt": "a boat"} | parameters)
            assert 6000 - tokens - 3 <= await self.left(client) <= 6000 - tokens

    async def test_what_was_made_is_charged(self, budgeted_images: Any, relay: StandInRelay) -> None:
        usage = {"input_tokens": 5, "output_tokens": 1024}
        async with budgeted_images as client:
            for items in ([ResponseHead(200, body=b"{}", usage=usage)], [*self.STREAM, ResponseTail(usage)]):
                before = await self.left(client)
                relay.items = list(items)
                await client.post(self.IMAGES, json={"model": "alpha", "prompt": "a boat", "n": 2})
                assert before - await self.left(client) == 1029

    async def test_a_stream_that_breaks_keeps_its_reservation(self, budgeted_images: Any, relay: StandInRelay) -> None:
        """Its events are pictures, not tokens."""
        relay.items = [*self.STREAM, ApiError("upstream_error", "gone")]
        async with budgeted_images as client:
            await client.post(self.IMAGES, json={"model": "alpha", "prompt": "a boat", "stream": True})
            assert await self.left(client) <= 6000 - 1024


@pytest.mark.parametrize(
    "items",
    [
        [ResponseHead(200, body=b"{}", usage={})],
        [ApiError("upstream_error", "failed")],
        [ResponseHead(200, "text/event-stream"), b"data: {}\n\n", ResponseTail({})],
        [ResponseHead(200, "text/event-stream"), b"data: {}\n\n", ApiError("upstream_error", "gone")],
        [ResponseHead(200, "text/event-stream"), b"data: {}\n\n", RuntimeError("ours")],
    ],
    ids=["answer", "error", "stream", "broken stream", "fault of ours"],
)
async def test_a_slot_comes_back_on_every_path(budgeted: Any, relay: StandInRelay, items: Any) -> None:
    async with budgeted(requests_per_minute=6000, concurrent_requests=1) as client:
        relay.items = items
        for _ in range(3):
            try:
                response = await client.post(CHAT, json=chat(stream=len(items) > 1))
            except RuntimeError:
                continue
            assert response.status_code != 429
        assert (await client.post(CHAT, json=chat(temperature="hot"))).status_code == 400
