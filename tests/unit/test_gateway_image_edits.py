"""POST /v1/images/edits and /v1/images/variations at the gateway: forms and JSON, bounds, budgets."""

import base64
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.endpoints.image_edits import EDITS, MAX_IMAGES, VARIATIONS
from contract.profile import Profile
from contract.protocol import ResponseHead
from tests.sample_images import PNG, TRUNCATED, blank, data_url, image
from tests.unit.conftest import assert_error

PATH, VARIATIONS_PATH = "/v1/images/edits", "/v1/images/variations"
EDITOR = Profile(
    engine="diffusers",
    capabilities=frozenset({"images", "edits", "masks", "variations"}),
    limits={"max_images": 4, "size_multiple": 8, "min_side": 64, "max_side": 512, "default_width": 128,
            "default_height": 64},
)  # fmt: skip
SEVERAL = replace(EDITOR, limits=EDITOR.limits | {"input_images": 2})
REFERENCE = {"image_url": data_url(PNG)}
BODY = {"model": "alpha", "prompt": "a boat", "image": [REFERENCE]}


@pytest.fixture
def editor(registry: Any, relay: Any) -> Any:
    registry.learn("alpha", EDITOR)
    body = {"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]}
    relay.items = [ResponseHead(200, body=json.dumps(body).encode(), usage={"input_tokens": 3, "output_tokens": 16})]
    return relay


def sent_to(engine: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(engine.sent[-1][2])
    return body


async def post_form(client: Any, files: Any, path: str = PATH, **fields: str) -> Any:
    return await client.post(path, data={"model": "alpha"} | fields, files=files)


@pytest.mark.parametrize("name", ["image", "image[]"])
async def test_the_files_of_a_form_are_references_as_in_json(client: Any, editor: Any, name: str) -> None:
    files = [(name, ("a.png", PNG)), ("mask", ("m.png", PNG))]
    response = await post_form(client, files, prompt="a boat", n="2", strength="0.5", stream="false")
    assert response.status_code == 200, response.text
    by_form = sent_to(editor)
    assert by_form == BODY | {"mask": REFERENCE, "n": 2, "strength": 0.5, "stream": False}
    await client.post(PATH, json=BODY | {"mask": REFERENCE, "n": 2, "strength": 0.5, "stream": False})
    assert sent_to(editor) == by_form


@pytest.mark.parametrize(
    "given",
    [{"image": REFERENCE}, {"image": REFERENCE["image_url"]}, {"images": [REFERENCE]}, {"images": [data_url(PNG)]}],
    ids=["one", "its URL", "OpenAI's JSON", "URLs"],
)
async def test_shapes_of_json(client: Any, editor: Any, given: dict[str, Any]) -> None:
    response = await client.post(PATH, json={"model": "alpha", "prompt": "a boat"} | given)
    assert response.status_code == 200
    assert sent_to(editor) == BODY
    assert "x-param-adjustments" not in response.headers


async def test_fields_of_an_image_that_mean_nothing_are_reported(client: Any, editor: Any) -> None:
    response = await client.post(PATH, json=BODY | {"image": [REFERENCE | {"detail": "high"}]})
    assert response.headers["x-param-adjustments"] == 'image.0.detail;action=drop;reason="unknown parameter"'
    assert sent_to(editor) == BODY


async def test_a_field_of_an_image_that_is_null_is_not_there(client: Any, editor: Any) -> None:
    given = {"image": [REFERENCE | {"detail": None, "file_id": None}], "strict_params": True}
    response = await client.post(PATH, json=BODY | given)
    assert response.status_code == 200, response.text
    assert sent_to(editor) == BODY
    assert "x-param-adjustments" not in response.headers


async def test_a_variation_is_an_image_alone(client: Any, editor: Any) -> None:
    assert (await post_form(client, {"image": ("a.png", PNG)}, VARIATIONS_PATH)).status_code == 200
    assert sent_to(editor) == {"model": "alpha", "image": [REFERENCE]}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it must be a PNG, JPEG, WebP or GIF"),
        (b"RIFF", "it must be a PNG, JPEG, WebP or GIF"),
        (blank(60_000, 60_000), "too many pixels"),
        (blank(8_000, 8_000), "more than 50000000 pixels"),
    ],
    ids=["empty", "no image", "decompression bomb", "too many pixels"],
)
@pytest.mark.parametrize("path", [PATH, VARIATIONS_PATH])
async def test_what_is_no_image_that_is_taken_never_reaches_an_engine(
    client: Any, editor: Any, path: str, content: bytes, fault: str
) -> None:
    fields = {"prompt": "a boat"} if path == PATH else {}
    response = await post_form(client, {"image": ("a.png", content)}, path, **fields)
    assert_error(response, 422, "invalid_request_error", "invalid_image", "image.0")
    assert fault in response.json()["error"]["message"]
    assert editor.sent == []


async def test_a_header_that_is_whole_is_the_engine_s_to_decode(client: Any, editor: Any) -> None:
    assert (await post_form(client, {"image": ("a.jpg", TRUNCATED)}, prompt="a boat")).status_code == 200


async def test_a_bad_mask_is_named(client: Any, editor: Any) -> None:
    response = await client.post(PATH, json=BODY | {"mask": {"image_url": data_url(b"no image")}})
    assert_error(response, 422, "invalid_request_error", "invalid_image", "mask")


@pytest.mark.parametrize(
    ("lacking", "path", "more", "param"),
    [
        ("edits", PATH, {}, "image"),
        ("masks", PATH, {"mask": REFERENCE}, "mask"),
        ("variations", VARIATIONS_PATH, {"prompt": None}, "image"),
    ],
)
async def test_what_a_model_cannot_do_with_images(
    client: Any, registry: Any, lacking: str, path: str, more: Any, param: str
) -> None:
    registry.learn("alpha", replace(EDITOR, capabilities=EDITOR.capabilities - {lacking}))
    response = await client.post(path, json=BODY | more)
    assert_error(response, 400, "invalid_request_error", "unsupported_capability", param)
    assert f"`{lacking}`" in response.json()["error"]["message"]


async def test_several_images_keep_their_order_in_a_form_and_in_json(client: Any, editor: Any, registry: Any) -> None:
    registry.learn("alpha", SEVERAL)
    other = image(8, 8)
    response = await post_form(client, [("image[]", ("a.png", PNG)), ("image[]", ("b.png", other))], prompt="a boat")
    assert response.status_code == 200, response.text
    assert sent_to(editor) == BODY | {"image": [REFERENCE, {"image_url": data_url(other)}]}
    by_form = sent_to(editor)
    await client.post(PATH, json={"model": "alpha", "prompt": "a boat", "images": by_form["image"]})
    assert sent_to(editor) == by_form


async def test_no_more_images_than_the_model_takes(client: Any, editor: Any, registry: Any) -> None:
    two = BODY | {"image": [REFERENCE] * 2}
    refused = await client.post(PATH, json=two)
    assert_error(refused, 400, "invalid_request_error", "unsupported_capability", "image.1")
    assert "has 2 images; this model takes at most 1. Send fewer." in refused.json()["error"]["message"]
    registry.learn("alpha", SEVERAL)
    assert (await client.post(PATH, json=two)).status_code == 200
    three = await client.post(PATH, json=BODY | {"image": [REFERENCE] * 3})
    assert_error(three, 400, "invalid_request_error", "unsupported_capability", "image.2")
    many = await client.post(PATH, json=BODY | {"image": [REFERENCE] * (MAX_IMAGES + 1)})
    assert_error(many, 400, "invalid_request_error", "invalid_value", "image")


@pytest.mark.parametrize(
    ("files", "status", "code", "param"),
    [
        ([], 400, "missing_required_parameter", "image"),
        ([("mask", ("m.png", PNG))], 400, "missing_required_parameter", "image"),
        ([("image", ("a.png", PNG)), ("mask", ("m.png", PNG)), ("mask", ("m.png", PNG))], 400, "invalid_form", "mask"),
        ([("image", ("a.png", PNG)), ("paint", ("b.png", PNG))], 400, "invalid_form", "paint"),
        ([("image", ("a.png", bytes(24 * 1024 * 1024 + 1)))], 413, "request_too_large", "image"),
    ],
    ids=["no file", "no image", "two masks", "a file of another name", "too large"],
)
async def test_forms_that_are_wrong(client: Any, editor: Any, files: Any, status: int, code: str, param: str) -> None:
    response = await post_form(client, files or [("x", (None, "y"))], prompt="a boat")
    assert_error(response, status, "invalid_request_error", code, param)


async def test_a_large_image_in_json_is_beside_the_limit_of_json(client: Any, editor: Any) -> None:
    noise = io.BytesIO()
    Image.frombytes("RGB", (1500, 1000), np.random.default_rng(0).bytes(3 * 1500 * 1000)).save(noise, "PNG")
    assert len(noise.getvalue()) > 4 * 1024 * 1024
    response = await client.post(PATH, json=BODY | {"image": {"image_url": data_url(noise.getvalue())}})
    assert response.status_code == 200
    long = await client.post(PATH, json=BODY | {"user": "x" * 5 * 1024 * 1024})
    assert_error(long, 413, "invalid_request_error", "request_too_large")


@pytest.mark.parametrize(
    ("endpoint", "request_", "tokens"),
    [
        (EDITS, BODY, 32 + 32),
        (EDITS, BODY | {"n": 3, "size": "64x64"}, 3 * 16 + 16),
        (VARIATIONS, {"image": [REFERENCE], "n": 2}, 2 * 32 + 32),
        (EDITS, {"prompt": "a boat"}, 0),
        (EDITS, BODY | {"image": 7}, 0),
    ],
)
def test_the_images_that_are_read_and_made_are_reserved(endpoint: Any, request_: Any, tokens: int) -> None:
    assert endpoint.answer_tokens(request_, EDITOR) == tokens


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        (BODY, 32 + 32),
        (BODY | {"image": [REFERENCE] * 2, "n": 3}, 3 * 32 + 2 * 32),
        (BODY | {"image": [REFERENCE] * 2, "size": "64x64"}, 16 + 2 * 32),
        ({"prompt": "a boat", "images": [REFERENCE] * 2}, 32 + 2 * 32),
        (BODY | {"image": REFERENCE}, 32 + 32),
        (BODY | {"image": [REFERENCE] * 3}, 0),
    ],
    ids=["one", "two", "of their own size", "OpenAI's JSON", "an object", "too many"],
)
def test_each_of_several_images_is_reserved(request_: Any, tokens: int) -> None:
    assert EDITS.answer_tokens(request_, SEVERAL) == tokens


async def test_the_pixels_of_several_images_are_bounded_together(client: Any, editor: Any, registry: Any) -> None:
    registry.learn("alpha", replace(EDITOR, limits=EDITOR.limits | {"input_images": 4}))
    files = [("image[]", (f"{number}.png", blank(7_000, 7_000))) for number in range(3)]
    response = await post_form(client, files, prompt="a boat")
    assert_error(response, 422, "invalid_request_error", "invalid_image", "image.2")
    assert "the request has more than 100000000 pixels" in response.json()["error"]["message"]
    assert editor.sent == []


async def test_the_bytes_of_several_images_are_bounded_together(client: Any, editor: Any, registry: Any) -> None:
    registry.learn("alpha", SEVERAL)
    files = [("image[]", (name, bytes(13 * 1024 * 1024))) for name in ("a.png", "b.png")]
    response = await post_form(client, files, prompt="a boat")
    assert_error(response, 413, "invalid_request_error", "request_too_large")
    assert editor.sent == []


def test_the_example_is_an_image() -> None:
    content = base64.b64decode(EDITS.example["image"]["image_url"].partition(",")[2])
    assert Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0)) == (255, 255, 255)
