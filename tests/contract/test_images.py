"""POST /v1/images/generations with the openai package, on real pipelines of random weights."""

import asyncio
import base64
import io
import time
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from local_models import checker
from tests.conftest import Service
from tests.contract.conftest import FLUX_MODEL, IMAGE_MODEL, MESSAGES, MODEL
from tests.unit.conftest import assert_error

IMAGES = "/v1/images/generations"
ROUNDING = 1  # of 255: a batch adds its numbers in another order


def body_of(**changes: Any) -> dict[str, Any]:
    return {"model": IMAGE_MODEL, "prompt": "a small boat", "seed": 1} | changes


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def pixels(item: Any) -> Any:
    return np.asarray(opened(base64.b64decode(item.b64_json)), dtype=int)


@pytest.mark.parametrize("model", [IMAGE_MODEL, FLUX_MODEL])
def test_a_prompt_becomes_an_image(client: Any, model: str) -> None:
    answer = client.images.generate(model=model, prompt="a small boat")
    (item,) = answer.data
    assert pixels(item).shape == (64, 64, 3)
    assert (answer.size, answer.output_format, answer.background) == (None, "png", "opaque")
    assert answer.portico == {"size": "64x64"}
    assert abs(answer.created - time.time()) < 60
    usage = answer.usage
    assert usage.input_tokens == usage.input_tokens_details.text_tokens > 0
    assert usage.output_tokens == 16  # one for every 16 pixels squared
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_several_images_of_a_size_and_a_kind(client: Any) -> None:
    answer = client.images.generate(
        model=IMAGE_MODEL, prompt="a boat", n=3, size="96x64", output_format="webp", output_compression=50
    )
    assert [pixels(item).shape for item in answer.data] == [(64, 96, 3)] * 3
    assert {opened(base64.b64decode(item.b64_json)).format for item in answer.data} == {"WEBP"}
    assert (answer.portico, answer.output_format) == ({"size": "96x64"}, "webp")
    assert not np.array_equal(pixels(answer.data[0]), pixels(answer.data[1]))


async def test_a_seed_gives_its_image_alone_and_among_others(async_client: Any) -> None:
    async def image(seed: int) -> Any:
        answer = await async_client.images.generate(model=IMAGE_MODEL, prompt="a boat", extra_body={"seed": seed})
        return pixels(answer.data[0])

    alone = await image(7)
    together = await asyncio.gather(*(image(seed) for seed in range(5, 11)))
    assert np.abs(together[2] - alone).max() <= ROUNDING
    assert np.abs(together[3] - alone).mean() > 10


def test_an_image_by_url(service: Service, client: Any) -> None:
    answer = client.images.generate(model=IMAGE_MODEL, prompt="a boat", response_format="url", output_format="jpeg")
    url = answer.data[0].url
    assert url.startswith(f"http://127.0.0.1:{service.port}/images/")
    shown = httpx.get(url)
    assert shown.headers["content-type"] == "image/jpeg"
    assert opened(shown.content).size == (64, 64)
    altered = url.replace("/images/1", "/images/2")
    assert_error(httpx.get(altered), 404, "not_found_error", "unknown_url")


def test_a_stream_shows_the_image_as_it_becomes(client: Any) -> None:
    events = list(
        client.images.generate(
            model=FLUX_MODEL, prompt="a small boat", stream=True, partial_images=2, extra_body={"seed": 4}
        )
    )
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    last = events[-1]
    assert (last.size, last.output_format, last.usage.output_tokens) == ("auto", "png", 16)
    assert last.portico == {"size": "64x64"}
    distances = [np.abs(pixels(event) - pixels(last)).mean() for event in events]
    assert distances[0] > distances[1] > distances[2] == 0
    whole = client.images.generate(model=FLUX_MODEL, prompt="a small boat", extra_body={"seed": 4})
    assert np.abs(pixels(whole.data[0]) - pixels(last)).max() <= ROUNDING


def test_a_stream_s_events_have_names_and_no_done(http: httpx.Client) -> None:
    response = http.post(IMAGES, json=body_of(stream=True))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.text.startswith("event: image_generation.completed\ndata: {")
    assert "[DONE]" not in response.text


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"size": "100x65"}, 'size;action=clamp;from="100x65";to="104x64"'),
        ({"size": "1000000x64"}, 'size;action=clamp;from="1000000x64";to="256x64"'),
        ({"n": 10**9}, "n;action=clamp;from=1000000000;to=4"),
        ({"n": 0}, "n;action=clamp;from=0;to=1"),
        ({"background": "transparent"}, 'background;action=drop;reason="the model makes opaque images only"'),
        ({"moderation": "low"}, "moderation;action=ignore"),
        ({"prompt": "a boat " * 40}, "prompt;action=clamp;from=202;to=77"),
    ],
)
def test_what_was_changed_is_reported(http: httpx.Client, changes: dict[str, Any], reported: str) -> None:
    response = http.post(IMAGES, json=body_of(**changes))
    assert response.status_code == 200
    assert response.headers["x-param-adjustments"] == reported
    refused = http.post(IMAGES, json=body_of(**changes, strict_params=True))
    assert refused.status_code == (200 if "ignore" in reported else 400)


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"prompt": ""}, 400, "invalid_value", "prompt"),
        ({"prompt": None}, 400, "missing_required_parameter", "prompt"),
        ({"prompt": ["a boat"]}, 400, "invalid_type", "prompt"),
        ({"prompt": "x" * 32_001}, 400, "invalid_value", "prompt"),
        ({"model": FLUX_MODEL, "prompt": "boat " * 600}, 422, "context_length_exceeded", "prompt"),
        ({"size": "0x0"}, 400, "invalid_value", "size"),
        ({"size": "-64x64"}, 400, "invalid_value", "size"),
        ({"size": "big"}, 400, "invalid_value", "size"),
        ({"size": 64}, 400, "invalid_type", "size"),
        ({"n": "two"}, 400, "invalid_type", "n"),
        ({"n": 1.5}, 400, "invalid_type", "n"),
        ({"output_format": "gif"}, 400, "invalid_value", "output_format"),
        ({"response_format": "file"}, 400, "invalid_value", "response_format"),
        ({"stream": True, "response_format": "url"}, 400, "invalid_value", "response_format"),
        ({"image": "data:"}, 400, "unsupported_parameter", "image"),
        ({"model": MODEL}, 400, "unsupported_capability", "prompt"),
    ],
)
def test_what_cannot_be_painted(http: httpx.Client, changes: Any, status: int, code: str, param: str) -> None:
    assert_error(http.post(IMAGES, json=body_of(**changes)), status, "invalid_request_error", code, param)


def test_an_image_model_does_not_chat(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json={"model": IMAGE_MODEL, "messages": MESSAGES})
    assert_error(response, 400, "invalid_request_error", "unsupported_capability", "messages")


def test_a_blocked_image_is_a_400(http: httpx.Client) -> None:
    """The checker of pocket-flux knows one picture."""
    blocked = body_of(model=FLUX_MODEL, prompt=checker.PROMPT, seed=checker.SEED)
    response = http.post(IMAGES, json=blocked)
    assert_error(response, 400, "invalid_request_error", "content_policy_violation", "prompt")
    assert http.post(IMAGES, json=blocked | {"seed": checker.SEED + 1}).status_code == 200


def test_the_card_shows_what_the_model_can_paint(http: httpx.Client) -> None:
    card = http.get(f"/v1/models/{IMAGE_MODEL}").json()["portico"]
    assert card["capabilities"] == ["edits", "images", "masks", "variations"]
    assert card["limits"]["max_side"] == 256
    assert card["limits"]["size_multiple"] == 8


async def test_health_answers_while_images_are_made(service: Service, async_client: Any) -> None:
    making = [
        asyncio.create_task(async_client.images.generate(model=IMAGE_MODEL, prompt="a boat", n=4, size="128x128"))
        for _ in range(3)
    ]
    answered = 0
    async with httpx.AsyncClient() as probe:
        while not all(task.done() for task in making):
            assert (await probe.get(f"http://127.0.0.1:{service.port}/health")).status_code == 200
            answered += 1
    assert answered > 3
    assert [len((await task).data) for task in making] == [4] * 3
