"""Places at a model: requests wait for one fairly over keys, and every way in which a request ends gives it back."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.config.service import Config, parse_config
from app.gateway.application import Gateway
from app.upstream.model_queues import ModelQueues
from contract.errors import ApiError
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from tests.unit.conftest import SCOPED_KEY, StandInRelay, assert_error, chat, client_of, config_args

CHAT = "/v1/chat/completions"
BETA = chat(model="beta")  # which both keys may use


def config_of(places: int = 1, queue: int = 10, **changes: Any) -> Config:
    args = config_args(**changes)
    args["models"][1]["scaling"] = {
        "max_ongoing_requests": places,
        "max_queued_requests": queue,
        "target_ongoing_requests": 1,
    }
    return parse_config(args)


class SlowRelay(StandInRelay):
    """Answers a request when `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.waited: list[float] = []

    async def send(self, *args: Any) -> Any:
        self.waited.append(args[4])
        answer = await super().send(*args[:4])
        await self.go.wait()
        return answer


@pytest.fixture
def relay() -> SlowRelay:
    return SlowRelay()


class Client:
    """Requests to a gateway, without a server between."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def send(self, body: dict[str, Any] = BETA, key: str | None = None) -> asyncio.Task[Any]:
        async def post() -> Any:
            async with client_of(self.gateway, *([key] if key else [])) as client:
                return await client.post(CHAT, json=body)

        return asyncio.create_task(post())

    def stream(self, reader: Any) -> asyncio.Task[None]:
        """A streamed request whose reader takes each message by `reader`."""

        async def receive() -> Any:
            return {"type": "http.request", "body": json.dumps(chat(model="beta", stream=True)).encode()}

        key = b"Bearer " + SCOPED_KEY.encode()
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [(b"authorization", key)]}
        return asyncio.create_task(self.gateway(scope, receive, reader))


def queue_of(client: Client) -> Any:
    return client.gateway._relay._queues["beta"]


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def never(message: Any) -> None:
    """A reader that takes nothing of the body."""
    if message["type"] == "http.response.body":
        await asyncio.Event().wait()


async def test_a_key_that_floods_leaves_the_next_place_to_another(make_gateway: Any, relay: SlowRelay) -> None:
    client = Client(make_gateway(config_of(places=2)))
    flood = [client.send() for _ in range(8)]
    await until(lambda: queue_of(client).waiting == 6)
    quiet = client.send(key=SCOPED_KEY)
    await until(lambda: queue_of(client).waiting == 7)
    relay.go.set()
    assert (await quiet).status_code == 200
    done = [one for one in flood if one.done()]
    assert len(done) <= 3
    assert {answer.status_code for answer in await asyncio.gather(*flood)} == {200}
    assert (queue_of(client).in_use, queue_of(client).waiting) == (0, 0)


async def test_the_log_tells_the_wait_for_a_place_and_the_engine_s_time_apart(
    make_gateway: Any, relay: SlowRelay, log_lines: list[bytes]
) -> None:
    client = Client(make_gateway(config_of()))
    first = client.send()
    await until(lambda: len(relay.waited) == 1)
    second = client.send()
    await until(lambda: queue_of(client).waiting == 1)
    await asyncio.sleep(0.05)
    relay.go.set()
    await asyncio.gather(first, second)
    at_once, waited = map(json.loads, log_lines)
    assert at_once["queue_ms"] < 40 <= at_once["engine_ms"]
    assert waited["engine_ms"] < 40 <= waited["queue_ms"]


async def test_the_log_has_the_wait_of_a_request_that_got_no_place(
    make_gateway: Any, relay: SlowRelay, log_lines: list[bytes]
) -> None:
    client = Client(make_gateway(config_of(limits={"first_byte_timeout_s": 0.05})))
    first, second = client.send(), client.send()
    assert (await second).status_code == 504
    relay.go.set()
    await first
    given_up = json.loads(log_lines[0])
    assert (given_up["reason"], given_up["engine_ms"]) == ("timeout", None)
    assert given_up["queue_ms"] >= 40


async def test_in_a_full_queue_the_flood_is_refused_and_the_other_waits(make_gateway: Any, relay: SlowRelay) -> None:
    client = Client(make_gateway(config_of(places=1, queue=4)))
    flood = [client.send() for _ in range(5)]
    await until(lambda: queue_of(client).waiting == 4)
    quiet = client.send(key=SCOPED_KEY)
    await until(lambda: any(one.done() for one in flood))
    (refused,) = [one.result() for one in flood if one.done()]
    assert_error(refused, 503, "server_error", "overloaded")
    relay.go.set()
    assert (await quiet).status_code == 200
    await asyncio.gather(*flood)


async def test_the_time_in_the_queue_is_not_the_gateway_s_own(make_gateway: Any, relay: SlowRelay) -> None:
    client = Client(make_gateway(config_of()))
    first, second = client.send(), client.send()
    await until(lambda: queue_of(client).waiting == 1)
    await asyncio.sleep(0.3)
    relay.go.set()
    await first
    assert float((await second).headers["x-gateway-overhead-ms"]) < 250
    assert relay.waited[1] >= 0.3, "the engine's time limits begin when the request comes"


async def test_who_waits_for_too_long_gets_a_timeout(make_gateway: Any, relay: SlowRelay) -> None:
    client = Client(make_gateway(config_of(limits={"first_byte_timeout_s": 0.05})))
    first, second = client.send(), client.send()
    assert_error(await second, 504, "server_error", "timeout")
    relay.go.set()
    await first
    assert queue_of(client).in_use == 0


async def test_and_is_charged_no_tokens_for_it(make_gateway: Any, relay: SlowRelay) -> None:
    keys = config_args()["keys"]
    keys[1]["budget"] = {"requests_per_minute": 600, "tokens_per_minute": 60_000}
    client = Client(make_gateway(config_of(limits={"first_byte_timeout_s": 0.05}, keys=keys)))
    first = client.send()
    await until(lambda: queue_of(client).in_use == 1)
    refused = await client.send(chat(model="beta", max_tokens=1000), key=SCOPED_KEY)
    assert_error(refused, 504, "server_error", "timeout")
    async with client_of(client.gateway, SCOPED_KEY) as quiet:
        left = (await quiet.get("/v1/models")).headers["x-ratelimit-remaining-tokens"]
    assert left == "6000"  # a tenth of the limit, all of what there is at once
    relay.go.set()
    await first


async def test_a_client_that_leaves_the_queue_is_forgotten_and_never_sent(make_gateway: Any, relay: SlowRelay) -> None:
    client = Client(make_gateway(config_of()))
    first, second = client.send(), client.send()
    await until(lambda: queue_of(client).waiting == 1)
    second.cancel()
    await until(lambda: queue_of(client).waiting == 0)
    relay.go.set()
    await first
    assert len(relay.sent) == 1


async def test_a_key_that_floods_does_not_fill_the_gateway(make_gateway: Any, relay: SlowRelay) -> None:
    """Whatever the models' queues may take: a fifth of it is left to keys that have little there."""
    client = Client(make_gateway(config_of(places=100, queue=100, ingress={"max_ongoing_requests": 10})))
    flood = [client.send() for _ in range(20)]
    await until(lambda: sum(one.done() for one in flood) == 12)
    for one in flood:
        if one.done():
            assert_error(one.result(), 503, "server_error", "overloaded")
    quiet = [client.send(key=SCOPED_KEY), client.send(key=SCOPED_KEY)]
    await until(lambda: len(relay.sent) == 10)
    relay.go.set()
    assert {answer.status_code for answer in await asyncio.gather(*quiet)} == {200}
    await asyncio.gather(*flood)
    assert client.gateway._relay._queues.open_requests._open.total() == 0
    assert (await client.send()).status_code == 200


async def test_nor_by_uploads_that_do_not_end(make_gateway: Any, relay: SlowRelay) -> None:
    client = Client(make_gateway(config_of(places=100, queue=100, ingress={"max_ongoing_requests": 10})))
    rest = asyncio.Event()

    async def body() -> AsyncGenerator[bytes]:
        yield b"{"
        await rest.wait()
        yield b"}"

    async def upload() -> Any:
        async with client_of(client.gateway) as one:
            return await one.post(CHAT, content=body())

    flood = [asyncio.create_task(upload()) for _ in range(20)]
    await until(lambda: sum(one.done() for one in flood) == 12)
    relay.go.set()
    assert (await client.send(key=SCOPED_KEY)).status_code == 200
    rest.set()
    assert {answer.status_code for answer in await asyncio.gather(*flood)} == {503, 400}


class TestAPlaceComesBack:
    @pytest.mark.parametrize("failure", [ApiError("upstream_error", "x"), ApiError("overloaded", "x"), RuntimeError()])
    async def test_when_the_engine_fails(self, make_gateway: Any, relay: SlowRelay, failure: Exception) -> None:
        async def fail(*_: Any) -> Any:
            raise failure

        client = Client(make_gateway(config_of()))
        relay.send = fail  # type: ignore[method-assign]
        for _ in range(3):
            assert (await client.send()).status_code >= 500
        assert queue_of(client).in_use == 0

    async def test_when_the_client_leaves_before_the_answer(self, make_gateway: Any, relay: SlowRelay) -> None:
        client = Client(make_gateway(config_of()))
        gone, other = client.send(), client.send()
        await until(lambda: len(relay.sent) == 1)
        gone.cancel()
        await until(lambda: len(relay.sent) == 2)
        relay.go.set()
        assert (await other).status_code == 200
        assert queue_of(client).in_use == 0

    async def test_when_the_client_leaves_its_stream(self, make_gateway: Any, relay: SlowRelay) -> None:
        relay.go.set()
        relay.items = [ResponseHead(200, EVENT_STREAM), b"data: 1\n\n"]
        client = Client(make_gateway(config_of()))
        stream = client.stream(never)
        await until(lambda: len(relay.sent) == 1)
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)
        assert queue_of(client).in_use == 0

    async def test_when_a_stream_breaks(self, make_gateway: Any, relay: SlowRelay) -> None:
        relay.go.set()
        relay.items = [ResponseHead(200, EVENT_STREAM), b"data: 1\n\n", ApiError("upstream_error", "x")]
        client = Client(make_gateway(config_of()))
        assert "upstream_error" in (await client.send(chat(model="beta", stream=True))).text
        assert queue_of(client).in_use == 0

    async def test_when_a_reader_stalls_in_a_stream_that_goes_on(self, make_gateway: Any, relay: SlowRelay) -> None:
        """As soon as the write timeout has passed."""
        relay.go.set()
        relay.items = [ResponseHead(200, EVENT_STREAM), *[b"data: 1\n\n"] * 100_000, ResponseTail()]
        limits = {"write_stall_timeout_s": 0.2, "stream_buffer_bytes": 1000}
        client = Client(make_gateway(config_of(limits=limits)))
        stalled = client.stream(never)
        await until(lambda: len(relay.sent) == 1)
        relay.items = [ResponseHead(200, body=b"{}")]
        assert (await client.send()).status_code == 200
        assert relay.answers[0].closed
        await asyncio.gather(stalled, return_exceptions=True)
        assert queue_of(client).in_use == 0

    @pytest.mark.parametrize(
        "items",
        [[ResponseHead(200, EVENT_STREAM), b"data: 1\n\n", ResponseTail()], [ResponseHead(200, body=b"{}")]],
        ids=["a stream", "a whole answer"],
    )
    async def test_when_the_model_has_done_however_slow_the_reader_is(
        self, make_gateway: Any, relay: SlowRelay, items: list[Any]
    ) -> None:
        relay.go.set()
        relay.items = items
        client = Client(make_gateway(config_of()))
        slow = client.stream(never)
        await until(lambda: len(relay.sent) == 1)
        assert (await client.send()).status_code == 200
        assert not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        assert queue_of(client).in_use == 0


class TestPlacesOfAGateway:
    """How many there are: what the running replicas take, divided by the running gateway replicas."""

    @pytest.mark.parametrize(
        ("running", "places"),
        [
            ({}, 6),
            ({"beta": 1, "gateway": 1}, 6),
            ({"beta": 2, "gateway": 1}, 12),
            ({"beta": 2, "gateway": 5}, 3),
            ({"beta": 0, "gateway": 2}, 3),  # it sleeps, and wakes for those who come
            ({"beta": 1, "gateway": 0}, 6),  # Serve has not seen this one yet
        ],
    )
    async def test_they_follow_the_replicas_that_run(self, running: dict[str, int], places: int) -> None:
        queues = ModelQueues(lambda _, __: None, lambda _: None, "gateway")
        queues.follow(config_of(places=6))
        queues.resize(running)
        assert queues["beta"]._places == places

    async def test_they_follow_the_configuration_and_what_waits_stays(self) -> None:
        waiting: list[tuple[str, int]] = []
        queues = ModelQueues(lambda *report: waiting.append(report), lambda _: None, "gateway")
        queues.follow(config_of(places=1))
        queues.resize({"beta": 2, "gateway": 1})
        requests = [asyncio.create_task(queues["beta"].take("a", 1, 60)) for _ in range(5)]
        await asyncio.sleep(0)
        queues.follow(config_of(places=2, fairness={"share": 0.25}))
        await asyncio.sleep(0)
        assert (queues["beta"].in_use, queues["beta"].waiting, queues["beta"]._share) == (4, 1, 1)
        assert waiting[-1] == ("beta", 1)
        queues.follow(parse_config(config_args(models=config_args()["models"][:1], keys=config_args()["keys"][:1])))
        (await requests[0]).release()
        (await requests[4]).release()
        assert queues["beta"].in_use == 3, "a model that is gone keeps its queue while requests are under way"
