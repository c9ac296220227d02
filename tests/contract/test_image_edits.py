"""POST /v1/images/edits and /v1/images/variations with the openai package, on real pipelines of random weights."""

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.contract.conftest import FLUX_MODEL, IMAGE_MODEL, MODEL
from tests.sample_images import PNG, TOO_LARGE, TOO_MANY_PIXELS, TRUNCATED, blank, data_url, image
from tests.unit.conftest import assert_error

EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"
SQUARE = image(64, 64)
PROMPT = "a small boat"


def opened(content: bytes) -> Any:
    return Image.open(io.BytesIO(content))


def pixels(item: Any) -> Any:
    return np.asarray(opened(base64.b64decode(item.b64_json)), dtype=int)


def mask() -> bytes:
    """Its upper half is made anew."""
    made = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    made.paste((0, 0, 0, 0), (0, 0, 64, 32))
    content = io.BytesIO()
    made.save(content, "PNG")
    return content.getvalue()


def body_of(**changes: Any) -> dict[str, Any]:
    return {"model": IMAGE_MODEL, "prompt": PROMPT, "image": {"image_url": data_url(SQUARE)}, "seed": 1} | changes


def post_form(http: httpx.Client, files: Any, path: str = EDITS, **fields: Any) -> httpx.Response:
    return http.post(path, data={"model": IMAGE_MODEL, "prompt": PROMPT} | fields, files=files)


@pytest.mark.parametrize("model", [IMAGE_MODEL, FLUX_MODEL])
def test_an_image_is_changed(client: Any, model: str) -> None:
    answer = client.images.edit(model=model, image=("a.png", SQUARE), prompt=PROMPT, n=2, extra_body={"seed": 1})
    assert len(answer.data) == 2
    assert np.abs(pixels(answer.data[0]) - pixels(answer.data[1])).mean() > 1
    assert answer.usage.input_tokens_details.image_tokens == 16
    assert answer.usage.output_tokens == 32


@pytest.mark.parametrize("model", [IMAGE_MODEL, FLUX_MODEL])
def test_only_where_the_mask_is_transparent(client: Any, model: str) -> None:
    answer = client.images.edit(
        model=model, image=("a.png", SQUARE), mask=("m.png", mask()), prompt=PROMPT, extra_body={"strength": 1}
    )
    made, original = pixels(answer.data[0]), np.asarray(opened(SQUARE), dtype=int)
    assert np.array_equal(made[32:], original[32:])
    assert np.abs(made[:32] - original[:32]).mean() > 5


def test_json_means_the_same_as_a_form(http: httpx.Client) -> None:
    form = post_form(http, {"image": ("a.png", SQUARE), "mask": ("m.png", mask())}, seed="1")
    by_json = http.post(EDITS, json=body_of(mask={"image_url": data_url(mask())}))
    by_other_name = http.post(EDITS, json=body_of(image=None, images=[data_url(SQUARE)], mask=data_url(mask())))
    assert form.status_code == 200, form.text
    images = [response.json()["data"] for response in (form, by_json, by_other_name)]
    assert images[0] == images[1] == images[2]
    assert "x-param-adjustments" not in form.headers


def test_a_stream_shows_the_image_as_it_becomes(client: Any) -> None:
    events = list(
        client.images.edit(model=FLUX_MODEL, image=("a.png", SQUARE), prompt=PROMPT, stream=True, partial_images=2)
    )
    assert [event.type for event in events] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    assert events[-1].usage.output_tokens == 16


def test_an_edit_by_url(client: Any) -> None:
    answer = client.images.edit(model=IMAGE_MODEL, image=("a.png", SQUARE), prompt=PROMPT, response_format="url")
    assert opened(httpx.get(answer.data[0].url).content).size == (64, 64)


def test_variations(client: Any) -> None:
    answer = client.images.create_variation(model=IMAGE_MODEL, image=("a.png", SQUARE), n=2, size="96x64")
    assert [pixels(one).shape for one in answer.data] == [(64, 96, 3)] * 2


def test_they_answer_under_their_pipeline(http: httpx.Client) -> None:
    edit = http.post(f"/v1/{IMAGE_MODEL}/images/edits", data={"prompt": PROMPT}, files={"image": ("a.png", SQUARE)})
    variation = http.post(f"/v1/{IMAGE_MODEL}/images/variations", files={"image": ("a.png", SQUARE)})
    assert [len(response.json()["data"]) for response in (edit, variation)] == [1, 1]


def test_what_was_changed_is_reported(http: httpx.Client) -> None:
    response = http.post(EDITS, json=body_of(strength=3, size="100x65", input_fidelity="high", x=1))
    assert response.headers["x-param-adjustments"] == (
        'strength;action=clamp;from=3;to=1.0, size;action=clamp;from="100x65";to="104x64", '
        'input_fidelity;action=ignore, x;action=drop;reason="unknown parameter"'
    )
    strict = http.post(EDITS, json=body_of(strength=3, strict_params=True))
    assert_error(strict, 400, "invalid_request_error", "invalid_value", "strength")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "invalid_image"),
        (b"no image", 422, "invalid_image"),
        (TRUNCATED, 422, "invalid_image"),
        (TOO_MANY_PIXELS, 422, "invalid_image"),
        (blank(60_000, 60_000), 422, "invalid_image"),
        (TOO_LARGE, 413, "request_too_large"),
    ],
    ids=["empty", "no image", "cut off", "too many pixels", "decompression bomb", "too many bytes"],
)
def test_what_is_no_image_that_is_taken(http: httpx.Client, content: bytes, status: int, code: str) -> None:
    for path in (EDITS, VARIATIONS):
        fields = {"model": IMAGE_MODEL} | ({"prompt": PROMPT} if path == EDITS else {})
        response = http.post(path, data=fields, files={"image": ("a.png", content)})
        assert_error(response, status, "invalid_request_error", code, "image.0")
    by_json = http.post(EDITS, json=body_of(image={"image_url": data_url(content)}))
    assert_error(by_json, status, "invalid_request_error", code, "image.0")


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"image": None}, 400, "missing_required_parameter", "image"),
        ({"prompt": None}, 400, "missing_required_parameter", "prompt"),
        ({"image": []}, 400, "invalid_value", "image"),
        ({"image": 7}, 400, "invalid_type", "image.0"),
        ({"image": {"file_id": "file-1"}}, 400, "unsupported_parameter", "image.0.file_id"),
        ({"image": {"image_url": "http://127.0.0.1:1/a.png"}}, 400, "invalid_image_url", "image.0"),
        ({"image": [data_url(SQUARE)] * 2}, 400, "unsupported_capability", "image.1"),
        ({"mask": {"image_url": data_url(PNG)}}, 422, "invalid_image", "mask"),
        ({"mask": {"image_url": data_url(SQUARE)}}, 422, "invalid_image", "mask"),
        ({"strength": "much"}, 400, "invalid_type", "strength"),
        ({"markup": data_url(SQUARE)}, 400, "unsupported_parameter", "markup"),
        ({"stream": True, "response_format": "url"}, 400, "invalid_value", "response_format"),
        ({"model": MODEL}, 400, "unsupported_capability", "image"),
    ],
)
def test_what_cannot_be_edited(http: httpx.Client, changes: Any, status: int, code: str, param: str) -> None:
    assert_error(http.post(EDITS, json=body_of(**changes)), status, "invalid_request_error", code, param)


def test_several_files_are_refused_by_a_model_that_begins_with_one(http: httpx.Client) -> None:
    several = post_form(http, [("image[]", ("a.png", SQUARE)), ("image[]", ("b.png", SQUARE))])
    assert_error(several, 400, "invalid_request_error", "unsupported_capability", "image.1")


def test_a_variation_has_no_prompt(http: httpx.Client) -> None:
    refused = post_form(http, {"image": ("a.png", SQUARE)}, VARIATIONS)
    assert_error(refused, 400, "invalid_request_error", "unsupported_parameter", "prompt")
