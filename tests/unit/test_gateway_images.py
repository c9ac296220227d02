"""POST /v1/images/generations at the gateway: what the engine gets, URLs, what the engine changed."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from contract.profile import Profile
from contract.protocol import ResponseHead, ResponseTail
from tests.unit.conftest import assert_error

IMAGES = "/v1/images/generations"
PICTURE = b"a picture"
GENERATOR = Profile(
    engine="diffusers",
    capabilities=frozenset({"images"}),
    lacks={"quality": "no steps", "transparency": "opaque only"},
    limits={"max_images": 2, "size_multiple": 8, "min_side": 64, "max_side": 512, "max_pixels": 256 * 256},
)


@pytest.fixture
def generator(registry: Any, relay: Any) -> Any:
    registry.learn("alpha", GENERATOR)
    body = {"created": 1, "data": [{"b64_json": base64.b64encode(PICTURE).decode()}], "output_format": "webp"}
    relay.items = [ResponseHead(200, body=json.dumps(body).encode(), usage={"input_tokens": 3, "output_tokens": 16})]
    return relay


def ask(**changes: Any) -> dict[str, Any]:
    return {"model": "alpha", "prompt": "a boat"} | changes


async def test_the_engine_gets_what_it_needs(client: Any, generator: Any) -> None:
    requested = ask(
        n=2, size="64x128", seed=7, user="me", quality="auto", response_format="b64_json", background="opaque"
    )
    response = await client.post(IMAGES, json=requested)
    assert "x-param-adjustments" not in response.headers
    assert json.loads(generator.sent[0][2]) == {
        "model": "alpha", "prompt": "a boat", "n": 2, "size": "64x128", "seed": 7
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "to"),
    [
        ("100x100", "104x104"),
        ("1x1", "64x64"),
        ("1000000x1000000", "256x256"),
        ("9" * 18 + "x64", "512x64"),
        ("512x256", "360x176"),
        ("auto", None),
    ],
)
async def test_sizes_become_ones_that_the_model_can_make(
    client: Any, generator: Any, given: str, to: str | None
) -> None:
    response = await client.post(IMAGES, json=ask(size=given))
    assert json.loads(generator.sent[0][2]).get("size") == to
    reported = f'size;action=clamp;from="{given}";to="{to}"' if to else None
    assert response.headers.get("x-param-adjustments") == reported


@pytest.mark.parametrize(
    "size", ["\u0661\u0662x\u0661\u0662", "0x64", "64x00", "-64x64", "64", "6e1x64", "64x64\n", "9" * 19 + "x64"]
)
async def test_what_is_no_size(client: Any, generator: Any, size: str) -> None:
    response = await client.post(IMAGES, json=ask(size=size))
    assert_error(response, 400, "invalid_request_error", "invalid_value", "size")
    assert "each at least 1" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("requested", "reason"),
    [
        ({"partial_images": 2}, "only a stream has partial images"),
        ({"output_compression": 50}, "png has no compression level; jpeg and webp have one"),
        ({"background": "transparent", "output_format": "jpeg"}, "jpeg has no transparency"),
        ({"quality": "low"}, "the operator has set no inference steps for it"),
        ({"quality": "standard"}, "the operator has set no inference steps for it"),
    ],
)
async def test_what_would_have_no_effect_is_dropped_and_reported(
    client: Any, generator: Any, registry: Any, requested: dict[str, Any], reason: str
) -> None:
    registry.learn("alpha", replace(GENERATOR, lacks={}, limits=GENERATOR.limits | {"high_steps": 50}))
    name = next(iter(requested))
    response = await client.post(IMAGES, json=ask(**requested))
    assert response.headers["x-param-adjustments"] == f'{name};action=drop;reason="{reason}"'
    assert name not in json.loads(generator.sent[0][2])
    refused = await client.post(IMAGES, json=ask(**requested, strict_params=True))
    assert_error(refused, 400, "invalid_request_error", "unsupported_parameter", name)


async def test_a_quality_of_the_entry_s_reaches_the_engine_under_its_name(
    client: Any, generator: Any, registry: Any
) -> None:
    registry.learn("alpha", replace(GENERATOR, lacks={}, limits=GENERATOR.limits | {"high_steps": 50}))
    for quality in ("high", "hd"):
        response = await client.post(IMAGES, json=ask(quality=quality))
        assert "x-param-adjustments" not in response.headers
        assert json.loads(generator.sent[-1][2])["quality"] == "high"


async def test_what_the_engine_cut_is_reported_in_body_order(client: Any, generator: Any) -> None:
    generator.items[0] = generator.items[0]._replace(clamped=(("prompt", 120, 77),))
    response = await client.post(IMAGES, json={"n": 9, "prompt": "long", "quality": "hd", "model": "alpha"})
    assert response.headers["x-param-adjustments"] == (
        'n;action=clamp;from=9;to=2, prompt;action=clamp;from=120;to=77, quality;action=drop;reason="no steps"'
    )
    assert not generator.sent[0][1].strict


async def test_strict_params_reach_the_engine_which_finds_what_is_too_long(client: Any, generator: Any) -> None:
    await client.post(IMAGES, json=ask(strict_params=True))
    assert generator.sent[0][1].strict
    assert "strict_params" not in json.loads(generator.sent[0][2])


async def test_an_image_by_url_is_fetched_without_a_key(client: Any, generator: Any) -> None:
    answer = (await client.post(IMAGES, json=ask(response_format="url"))).json()
    (item,) = answer["data"]
    assert set(item) == {"url"}
    image = await client.get(item["url"], headers={"authorization": ""})
    assert (image.status_code, image.content) == (200, PICTURE)
    assert image.headers["content-type"] == "image/webp"
    assert image.headers["x-content-type-options"] == "nosniff"
    assert image.headers["cache-control"].startswith("private, max-age=3")
    assert "x-request-id" in image.headers
    altered = await client.get(item["url"].replace(".webp", ".png"))
    assert_error(altered, 404, "not_found_error", "unknown_url")


async def test_where_no_url_can_be_made_nothing_is_generated(client: Any, generator: Any) -> None:
    response = await client.post(IMAGES, json=ask(response_format="url"), headers={"host": "no host"})
    assert_error(response, 400, "invalid_request_error", "invalid_value")
    assert generator.sent == []


async def test_only_get_shows_an_image(client: Any, generator: Any) -> None:
    assert_error(await client.post("/images/x.png"), 405, "invalid_request_error", "method_not_allowed")


async def test_a_stream_shows_one_image(client: Any, generator: Any) -> None:
    generator.items = [ResponseHead(200, "text/event-stream"), b"event: x\ndata: {}\n\n", ResponseTail()]
    response = await client.post(IMAGES, json=ask(stream=True, n=2))
    assert response.headers["x-param-adjustments"] == "n;action=clamp;from=2;to=1"
    assert response.text == "event: x\ndata: {}\n\n"


async def test_a_stream_carries_its_image(client: Any, generator: Any) -> None:
    response = await client.post(IMAGES, json=ask(stream=True, response_format="url"))
    assert_error(response, 400, "invalid_request_error", "invalid_value", "response_format")


async def test_a_stream_that_breaks_ends_in_an_error_event(client: Any, generator: Any) -> None:
    generator.items = [ResponseHead(200, "text/event-stream"), b"event: x\ndata: {}\n\n"]
    text = (await client.post(IMAGES, json=ask(stream=True))).text
    last = text.rstrip("\n").rpartition("\n\n")[2]
    assert last.startswith('event: error\ndata: {"error":')
    assert '"code":"upstream_error"' in last
