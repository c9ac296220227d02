"""Images to POST /v1/chat/completions and /v1/responses, on a real vision model of random weights."""

from typing import Any

import httpx
import pytest

from tests.conftest import Service
from tests.contract.conftest import MODEL, VISION_MODEL
from tests.sample_images import PNG, TOO_LARGE, TOO_MANY_PIXELS, TRUNCATED, ImageServer, data_url, image
from tests.unit.conftest import assert_error

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"


def chat(*urls: str, model: str = VISION_MODEL) -> tuple[str, dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "What is this?"}, *parts]
    return CHAT, {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 4}


def responses(*urls: str, model: str = VISION_MODEL) -> tuple[str, dict[str, Any]]:
    parts = [{"type": "input_image", "image_url": url, "detail": "auto"} for url in urls]
    content = [{"type": "input_text", "text": "What is this?"}, *parts]
    return RESPONSES, {"model": model, "input": [{"role": "user", "content": content}], "max_output_tokens": 4}


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error of a refused request."""
    error: dict[str, Any] = response.json()["error"]
    assert_error(response, status, "invalid_request_error", code, error["param"])
    return error


BOTH = pytest.mark.parametrize("request_of", [chat, responses])


def prompt_tokens(http: httpx.Client, path: str, body: dict[str, Any]) -> int:
    response = http.post(path, json=body)
    assert response.status_code == 200, response.text
    usage = response.json()["usage"]
    return int(usage["prompt_tokens"] if path == CHAT else usage["input_tokens"])


@BOTH
def test_an_image_becomes_tokens_of_the_prompt(http: httpx.Client, request_of: Any) -> None:
    none, small, two = (prompt_tokens(http, *request_of(*urls)) for urls in ([], [data_url(PNG)], [data_url(PNG)] * 2))
    large = prompt_tokens(http, *request_of(data_url(image(400, 300, "JPEG"), "jpeg")))
    assert none < small < two
    assert small < large, "a larger image is more tokens"


def test_the_model_sees_what_is_in_the_image(http: httpx.Client) -> None:
    """Two prompts of the same tokens; only the pixels differ."""

    def logprobs(content: bytes) -> Any:
        path, body = chat(data_url(content))
        body |= {"temperature": 0, "logprobs": True, "top_logprobs": 5, "max_tokens": 1}
        return http.post(path, json=body).json()["choices"][0]["logprobs"]["content"]

    assert logprobs(PNG) == logprobs(PNG)
    assert logprobs(PNG) != logprobs(image(48, 64))


def test_the_client_sends_one(client: Any) -> None:
    _, body = chat(data_url(PNG))
    answer = client.chat.completions.create(**body)
    assert answer.usage.completion_tokens == 4


@BOTH
def test_a_url_of_an_allowed_host_is_fetched_once(
    http: httpx.Client, image_server: ImageServer, request_of: Any
) -> None:
    before = image_server.requested.count("/good.png")
    fetched = prompt_tokens(http, *request_of(image_server.url("/good.png")))
    assert fetched == prompt_tokens(http, *request_of(data_url(PNG)))
    assert image_server.requested.count("/good.png") == before + 1


@BOTH
@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        (data_url(b"no image"), 422, "invalid_image"),
        (data_url(TRUNCATED, "jpeg"), 422, "invalid_image"),
        (data_url(TOO_MANY_PIXELS), 422, "invalid_image"),
        (data_url(TOO_LARGE), 413, "request_too_large"),
        ("https://example.org/cat.png", 400, "invalid_image_url"),
        ("http://169.254.169.254/latest/meta-data", 400, "invalid_image_url"),
        ("file:///etc/passwd", 400, "invalid_image_url"),
    ],
    ids=["no image", "truncated", "pixels", "bytes", "host", "metadata service", "file"],
)
def test_a_bad_image(http: httpx.Client, request_of: Any, url: str, status: int, code: str) -> None:
    path, body = request_of(url)
    error = refused(http.post(path, json=body), status, code)
    assert error["param"].split(".")[0] in ("messages", "input")


@BOTH
@pytest.mark.parametrize("path_on_host", ["/moved.png", "/gone.png", "/slow.png"])
def test_a_host_that_does_not_answer_with_the_image(
    http: httpx.Client, image_server: ImageServer, request_of: Any, path_on_host: str
) -> None:
    path, body = request_of(image_server.url(path_on_host))
    refused(http.post(path, json=body), 400, "invalid_image_url")


@BOTH
def test_too_many_images(http: httpx.Client, request_of: Any) -> None:
    path, body = request_of(*[data_url(PNG)] * 5)
    assert "4 are legal" in refused(http.post(path, json=body), 400, "invalid_value")["message"]


@BOTH
def test_a_bad_image_in_a_stream_is_a_status_too(http: httpx.Client, request_of: Any) -> None:
    path, body = request_of(data_url(TRUNCATED, "jpeg"))
    refused(http.post(path, json=body | {"stream": True}), 422, "invalid_image")


@BOTH
def test_a_text_model_refuses_images(http: httpx.Client, request_of: Any) -> None:
    path, body = request_of(data_url(PNG), model=MODEL)
    error = refused(http.post(path, json=body), 400, "unsupported_capability")
    assert "vision" in error["message"]


def test_an_image_that_a_function_gave_back(http: httpx.Client) -> None:
    """In a response's input; the model has no tools now, and had none to call."""
    call = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
    result = {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": [{"type": "input_image", "image_url": data_url(b"no image")}],
    }
    body = {"model": VISION_MODEL, "input": [{"role": "user", "content": "Look."}, call, result]}
    error = refused(http.post(RESPONSES, json=body), 422, "invalid_image")
    assert error["param"] == "input.2.output.0.image_url"


def test_fields_that_would_name_cached_media_are_dropped(http: httpx.Client) -> None:
    path, body = chat(data_url(PNG))
    body["messages"][0]["content"][1]["uuid"] = "somebody-else"
    response = http.post(path, json=body)
    assert response.status_code == 200
    adjustments = response.headers["x-param-adjustments"]
    assert adjustments == 'messages.0.content.1.uuid;action=drop;reason="unknown parameter"'


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"type": "image_url"}, "invalid_type"),
        ({"type": "image_url", "image_url": data_url(PNG)}, "invalid_type"),
        ({"type": "image_url", "image_url": {"url": 7}}, "invalid_type"),
        ({"type": "image_url", "image_url": {"url": data_url(PNG), "detail": "huge"}}, "invalid_value"),
    ],
    ids=["nothing", "no object", "no text", "detail"],
)
def test_a_malformed_part(http: httpx.Client, part: dict[str, Any], code: str) -> None:
    _, body = chat()
    body["messages"][0]["content"].append(part)
    error = refused(http.post(CHAT, json=body), 400, code)
    assert error["param"].startswith("messages.0.content.1.image_url")


def test_files_are_not_kept_here(http: httpx.Client) -> None:
    body = {"model": VISION_MODEL, "input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f-1"}]}]}
    refused(http.post(RESPONSES, json=body), 400, "unsupported_parameter")


def test_a_models_card_tells_of_it(http: httpx.Client, service: Service) -> None:
    assert "vision" in http.get(f"/v1/models/{VISION_MODEL}").json()["portico"]["capabilities"]
