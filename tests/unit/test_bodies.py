"""Bodies of requests: how many bytes of them a gateway holds at once, in all and for a key; how much of one is JSON."""

import asyncio
import base64
import io
import json
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from PIL import Image

from app.config.service import parse_config
from app.http.bodies_in_flight import BodiesInFlight
from app.keys import LOCAL_KEY
from contract.errors import ApiError
from contract.fields import ConfigError
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from tests.unit.conftest import PROFILE, SCOPED_KEY, assert_error, chat, client_of, config_args

CHAT = "/v1/chat/completions"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
OVERLOADED = (503, "server_error", "overloaded")
TOO_LARGE = (413, "invalid_request_error", "request_too_large")
BUDGET = {
    "max_body_bytes": 1000,
    "max_file_bytes": 1000,
    "bodies_in_flight_bytes": 1500,
    "bodies_in_flight_bytes_per_key": 1000,
}


def image() -> str:
    """A PNG of about 3,000 bytes, as a data URL."""
    file = io.BytesIO()
    Image.frombytes("L", (50, 50), os.urandom(2500)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


IMAGE = image()
AUDIO = base64.b64encode(b"RIFF    WAVE" + os.urandom(3000)).decode()


class Upload:
    """A body of which some has come, and whose rest comes when it is let."""

    def __init__(self, gateway: Any, key: str, comes: int, path: str = CHAT, **headers: str) -> None:
        self._whole = json.dumps(chat(model="beta")).encode().ljust(comes)
        self._client = client_of(gateway, key)
        self._came, self._rest = asyncio.Event(), asyncio.Event()
        self._response = asyncio.ensure_future(self._client.post(path, content=self._pieces(), headers=headers))

    async def _pieces(self) -> AsyncGenerator[bytes]:
        yield self._whole
        self._came.set()
        await self._rest.wait()
        yield b" "

    async def came(self) -> "Upload":
        async with asyncio.timeout(5):
            await self._came.wait()
        return self

    async def end(self) -> httpx.Response:
        self._rest.set()
        return await self._response

    async def leave(self) -> None:
        self._response.cancel()
        await asyncio.gather(self._response, return_exceptions=True)


@contextmanager
def holding(bodies: BodiesInFlight, key_id: str, weight: int, size: int) -> Iterator[None]:
    """A body of which so much has come."""
    with bodies.hold(key_id, weight) as held:
        bodies.add(size, key_id, weight)
        held.size = size
        yield


@pytest.fixture
def gateway(make_gateway: Callable[..., Any]) -> Any:
    return make_gateway(parse_config(config_args(limits=BUDGET)))


async def post(gateway: Any, key: str, size: int, **headers: str) -> httpx.Response:
    async with client_of(gateway, key) as client:
        body = json.dumps(chat(model="beta")).encode().ljust(size)
        return await client.post(CHAT, content=body, headers=headers)


class TestBudget:
    async def test_a_key_s_bodies_that_still_come_are_bounded_together(self, gateway: Any) -> None:
        first = await Upload(gateway, LOCAL_KEY, 800).came()
        refused = await post(gateway, LOCAL_KEY, 300)
        assert_error(refused, *OVERLOADED)
        assert refused.headers["retry-after"] == "5"
        assert "bodies_in_flight" not in refused.text
        assert (await post(gateway, SCOPED_KEY, 300)).status_code == 200, "another key has its own part"
        assert (await first.end()).status_code == 200
        assert (await post(gateway, LOCAL_KEY, 900)).status_code == 200, "what ended was given back"

    async def test_all_keys_bodies_are_bounded_together(self, gateway: Any) -> None:
        first = await Upload(gateway, LOCAL_KEY, 950).came()
        second = await Upload(gateway, SCOPED_KEY, 400).came()
        assert_error(await post(gateway, SCOPED_KEY, 180), *OVERLOADED)
        await first.leave()
        assert (await second.end()).status_code == 200
        assert (await post(gateway, SCOPED_KEY, 900)).status_code == 200

    async def test_an_announced_length_that_does_not_fit_is_refused_before_any_of_it_is_read(
        self, gateway: Any
    ) -> None:
        first = await Upload(gateway, LOCAL_KEY, 800).came()
        taken = 0

        async def pieces() -> AsyncGenerator[bytes]:
            nonlocal taken
            taken += 1
            yield b" " * 300

        async with client_of(gateway) as client:
            response = await client.post(CHAT, content=pieces(), headers={"content-length": "300"})
        assert_error(response, *OVERLOADED)
        assert taken == 0
        await first.end()

    async def test_what_is_announced_and_does_not_come_takes_nothing(self, gateway: Any) -> None:
        slow = [await Upload(gateway, LOCAL_KEY, 100, **{"content-length": "600"}).came() for _ in range(4)]
        assert (await post(gateway, LOCAL_KEY, 500)).status_code == 200
        for upload in slow:
            await upload.end()

    async def test_a_body_counts_until_its_answer_has_ended(self, gateway: Any, relay: Any) -> None:
        relay.items = [ResponseHead(200, EVENT_STREAM), b"data: 1\n\n", ResponseTail()]
        refused: list[httpx.Response] = []
        send = relay.send

        async def meanwhile(*call: Any) -> Any:
            if len(relay.sent) == 0:
                answer = await send(*call)
                refused.append(await post(gateway, LOCAL_KEY, 300))
                return answer
            return await send(*call)

        relay.send = meanwhile
        assert (await post(gateway, LOCAL_KEY, 800)).status_code == 200
        assert_error(refused[0], *OVERLOADED)
        assert (await post(gateway, LOCAL_KEY, 800)).status_code == 200

    async def test_a_client_that_leaves_and_a_body_that_is_refused_give_theirs_back(self, gateway: Any) -> None:
        await (await Upload(gateway, LOCAL_KEY, 800).came()).leave()
        assert_error(await post(gateway, LOCAL_KEY, 1001), *TOO_LARGE)
        async with client_of(gateway) as client:
            assert (await client.post(CHAT, content=b"{".ljust(900))).status_code == 400
        assert (await post(gateway, LOCAL_KEY, 900)).status_code == 200

    async def test_a_form_s_file_is_counted_while_it_comes(self, gateway: Any) -> None:
        first = await Upload(gateway, LOCAL_KEY, 800).came()
        async with client_of(gateway) as client:
            response = await client.post(TRANSCRIPTIONS, files={"file": b"x" * 300}, data={"model": "alpha"})
        assert_error(response, *OVERLOADED)
        await first.end()

    async def test_where_nearly_all_is_taken_a_key_that_has_its_part_gets_no_more(self, gateway: Any) -> None:
        loud = await Upload(gateway, LOCAL_KEY, 900).came()
        quiet = await Upload(gateway, SCOPED_KEY, 300).came()
        assert_error(await post(gateway, LOCAL_KEY, 90), *OVERLOADED)  # there is room for it, and its key has 600
        assert (await post(gateway, SCOPED_KEY, 290)).status_code == 200
        await quiet.leave()
        assert (await post(gateway, LOCAL_KEY, 90)).status_code == 200
        assert (await loud.end()).status_code == 200

    def test_a_key_s_part_is_by_its_weight(self) -> None:
        bodies = BodiesInFlight()
        bodies.resize(1500, 1000)
        with bodies.hold("quiet", 1) as quiet, bodies.hold("heavy", 3) as heavy:
            for held, key, size in ((quiet, ("quiet", 1), 310), (heavy, ("heavy", 3), 890)):
                bodies.add(size, *key)
                held.size = size
            bodies.need(10, "heavy", 3)
            with pytest.raises(ApiError, match="this API key"):
                bodies.need(11, "heavy", 3)
            with pytest.raises(ApiError, match="this API key"):
                bodies.need(1, "quiet", 1)

    async def test_the_largest_legal_body_is_served_where_it_may_take_all(self, make_gateway: Any) -> None:
        limits = dict.fromkeys(BUDGET, 1000)
        gateway = make_gateway(parse_config(config_args(limits=limits)))
        assert (await post(gateway, LOCAL_KEY, 1000)).status_code == 200
        upload = await Upload(gateway, LOCAL_KEY, 999).came()
        assert (await upload.end()).status_code == 200

    def test_a_key_that_is_alone_has_its_own_limit_and_no_less(self) -> None:
        bodies = BodiesInFlight()
        bodies.resize(1000, 950)
        with holding(bodies, "only", 1, 600):
            bodies.need(350, "only", 1)
            with pytest.raises(ApiError, match="this API key"):
                bodies.need(351, "only", 1)
            with holding(bodies, "other", 1, 1), pytest.raises(ApiError, match="this API key"):
                bodies.need(300, "only", 1)

    @pytest.mark.parametrize(("others", "weight"), [(1, 1000), (200, 1)], ids=["one that is heavy", "many"])
    def test_a_key_that_holds_nothing_begins_a_body_whatever_its_part_is(self, others: int, weight: int) -> None:
        bodies = BodiesInFlight()
        bodies.resize(1500, 1000)
        with ExitStack() as held:
            for index in range(others):
                held.enter_context(holding(bodies, f"other {index}", weight, 800 // others))
            with bodies.hold("light", 1) as body:
                for _ in range(7):
                    bodies.need(100, "light", 1, body.size)
                    bodies.add(100, "light", 1)
                    body.size += 100
                with pytest.raises(ApiError, match=r"requests that are under way"):
                    bodies.need(1, "light", 1, body.size)  # no room in all
            with holding(bodies, "light", 1, 650), pytest.raises(ApiError, match="this API key"):
                bodies.need(10, "light", 1)  # of another body

    async def test_a_light_key_is_served_beside_a_heavy_one(self, make_gateway: Any) -> None:
        args = config_args(limits=BUDGET)
        bodies = BodiesInFlight()
        gateway = make_gateway(parse_config(args), bodies=bodies)
        with holding(bodies, "heavy", 1000, 900):
            assert (await post(gateway, SCOPED_KEY, 500)).status_code == 200
            first = await Upload(gateway, SCOPED_KEY, 400).came()
            assert_error(await post(gateway, SCOPED_KEY, 100), *OVERLOADED)
            assert (await first.end()).status_code == 200

    async def test_a_changed_configuration_does_not_begin_anew(self, make_gateway: Any) -> None:
        bodies = BodiesInFlight()
        before, after = (make_gateway(parse_config(config_args(limits=BUDGET)), bodies=bodies) for _ in range(2))
        upload = await Upload(before, LOCAL_KEY, 900).came()
        assert_error(await post(after, LOCAL_KEY, 200), *OVERLOADED)
        await upload.end()
        assert (await post(after, LOCAL_KEY, 200)).status_code == 200

    @pytest.mark.parametrize(
        ("limits", "message"),
        [
            ({"bodies_in_flight_bytes": 1000}, "bodies_in_flight_bytes_per_key"),
            ({"bodies_in_flight_bytes_per_key": 1000}, "max_body_bytes"),
            ({"max_file_bytes": 500 * 1024 * 1024}, "max_file_bytes"),
        ],
    )
    def test_a_budget_in_which_a_legal_body_has_no_room_is_refused(self, limits: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            parse_config(config_args(limits=limits))


class TestJson:
    """4 MiB of JSON; the base64 of images and audio comes beside them where an endpoint takes such parts."""

    @pytest.fixture
    async def client(self, make_gateway: Any, registry: Any) -> AsyncGenerator[httpx.AsyncClient]:
        registry.learn("alpha", replace(PROFILE, capabilities=PROFILE.capabilities | {"vision", "audio"}))
        gateway = make_gateway(parse_config(config_args(limits={"max_json_bytes": 1000, "max_body_bytes": 9000})))
        async with client_of(gateway) as client:
            yield client

    def test_the_default_is_4_mebibytes(self) -> None:
        assert parse_config(config_args()).limits.max_json_bytes == 4 * 1024 * 1024

    @pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/audio/speech", "/v1/images/generations"])
    async def test_where_no_media_can_come_a_larger_body_is_refused_unread(self, client: Any, path: str) -> None:
        async def endless() -> AsyncGenerator[bytes]:
            while True:
                yield b"x" * 60

        assert_error(await client.post(path, content=b" " * 1001), *TOO_LARGE)
        assert_error(await client.post(path, content=endless()), *TOO_LARGE)

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            (CHAT, {"messages": [{"role": "user", "content": "x" * 1000}]}),
            (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 1000}]}]}),
            (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "image_url": {"url": "x" * 1000}}]}]}),
            (CHAT, {"messages": "data:image/png;base64," + "x" * 1000}),
            (CHAT, {"image_url": {"url": "x" * 1000}}),
            (CHAT, {"tools": [{"type": "image_url", "image_url": {"url": "x" * 1000}}]}),
            ("/v1/responses", {"input": "x" * 1000}),
            ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x" * 1000}]}]}),
        ],
    )
    async def test_text_is_refused_over_the_limit_for_json(self, client: Any, path: str, text: dict[str, Any]) -> None:
        response = await client.post(path, json={"model": "alpha"} | text)
        assert_error(response, *TOO_LARGE)
        assert "1000 bytes" in response.json()["error"]["message"]

    async def test_a_small_image_is_no_way_around_the_limit(self, client: Any) -> None:
        parts = [
            {"type": "image_url", "image_url": {"url": IMAGE[:200]}},
            {"type": "text", "text": "x" * 1000},
        ]
        assert_error(await client.post(CHAT, json=chat(messages=[{"role": "user", "content": parts}])), *TOO_LARGE)

    @pytest.mark.parametrize(
        ("path", "request_"),
        [
            (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}]}),
            (
                CHAT,
                {
                    "messages": [
                        {
                            "role": "user",
                            "content": [{"type": "input_audio", "input_audio": {"data": AUDIO, "format": "wav"}}],
                        }
                    ]
                },
            ),
            ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]}]}),
            (
                "/v1/responses",
                {
                    "input": [
                        {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
                        {
                            "type": "function_call_output",
                            "call_id": "1",
                            "output": [{"type": "input_image", "image_url": IMAGE}],
                        },
                    ]
                },
            ),
        ],
    )
    async def test_media_come_beside_it(self, client: Any, path: str, request_: dict[str, Any]) -> None:
        response = await client.post(path, json={"model": "alpha"} | request_)
        assert response.status_code == 200, response.text

    @pytest.mark.parametrize("body", [b"[[],[]" + b",[]" * 1000 + b"]", b'{"a": [' + b'"aaa",' * 1000 + b"1]}"])
    async def test_a_body_that_is_no_base64_is_refused_without_parsing_it(
        self, client: Any, body: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def parsed(_: bytes) -> None:
            raise AssertionError("parsed")

        monkeypatch.setattr("app.http.body.parse_object", parsed)
        assert_error(await client.post(CHAT, content=body), *TOO_LARGE)
