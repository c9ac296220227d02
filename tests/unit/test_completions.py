"""POST /v1/completions in the gateway: what of its parameters is legal beside each other, and the best of many."""

import json
from typing import Any

import pytest

from app.endpoints.completions import COMPLETIONS, MAX_LOGPROBS, TABLE
from app.parameters.adjust import Adjusted, adjust
from contract import sse
from contract.errors import ApiError, upstream_error
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from tests.unit.conftest import assert_error, client_of
from tests.unit.test_parameter_table import ABLE

FAILURE = upstream_error()
USAGE = {"prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15}


def adjusted(**fields: Any) -> Adjusted:
    return adjust(TABLE, {"prompt": "a"} | fields, ABLE)


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        adjusted(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"max_tokens": 0}, ("max_tokens", 0, 1)),  # nothing would be returned
        ({"min_tokens": 20}, ("min_tokens", 20, 16)),  # the default limit
        ({"min_tokens": 20, "max_tokens": 10}, ("min_tokens", 20, 10)),
        ({"n": 3, "temperature": 0}, ("n", 3, 1)),
        ({"best_of": 3, "temperature": 0}, ("best_of", 3, 1)),
        ({"n": 100, "prompt": ["a", "b"]}, ("n", 100, 64)),
        ({"best_of": 100, "prompt": [[1], [2], [3]]}, ("best_of", 100, 42)),
        ({"n": 3, "echo": True, "logprobs": 0}, ("n", 3, 1)),  # each text would repeat those of the prompt
    ],
)
def test_what_means_nothing_beside_the_rest_is_clamped(fields: Any, change: tuple[str, int, int]) -> None:
    assert [(one.name, one.before, one.after) for one in adjusted(**fields).adjustments] == [change]


def test_no_token_at_all_may_be_generated_where_the_prompt_is_returned() -> None:
    outcome = adjusted(max_tokens=0, echo=True)
    assert (outcome.engine["max_tokens"], outcome.adjustments) == (0, ())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": [384]}, "prompt"),
        ({"prompt": [[1], [2, 384]]}, "prompt"),
        ({"suffix": "b", "prompt": [1]}, "suffix"),
        ({"suffix": "b", "echo": True}, "echo"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"best_of": 2, "echo": True}, "best_of"),
        ({"best_of": 2, "n": 2, "echo": True, "logprobs": 0}, "best_of"),
        ({"stream_options": {}}, "stream_options"),
        ({"stop": ["a"] * 17}, "stop"),
    ],
)
def test_what_cannot_be_made_legal_is_a_400(fields: Any, param: str) -> None:
    error = refused(**fields)
    assert (error.status, error.param) == (400, param)


def test_a_text_is_returned_several_times_where_nothing_is_said_of_its_tokens() -> None:
    assert adjusted(n=3, echo=True).adjustments == adjusted(n=3, logprobs=5).adjustments == ()


@pytest.mark.parametrize(
    "prompt",
    [
        "a" * (MAX_LOGPROBS // 2),
        ["a" * (MAX_LOGPROBS // 4)] * 2,
        [1] * (MAX_LOGPROBS // 2),
        [[1] * (MAX_LOGPROBS // 128)] * 64,
        [[1] * 2048] * 16,  # a batch of lm-evaluation-harness
        ["word " * 2048] * 16,
    ],
)
def test_log_probabilities_of_prompts_are_legal_up_to_a_bound(prompt: Any) -> None:
    assert adjusted(prompt=prompt, echo=True, logprobs=1).adjustments == ()


@pytest.mark.parametrize(
    ("prompt", "logprobs"),
    [
        ("a" * (MAX_LOGPROBS // 2 + 1), 1),
        (["a" * (MAX_LOGPROBS // 4), "a" * (MAX_LOGPROBS // 4 + 1)], 1),
        ([1] * (MAX_LOGPROBS // 2 + 1), 1),
        ([[1] * 4096] * 70, 1),
        ([[1] * 4096] * 7, 19),
    ],
)
def test_more_log_probabilities_of_prompts_are_too_large(prompt: Any, logprobs: int) -> None:
    error = refused(prompt=prompt, echo=True, logprobs=logprobs)
    assert (error.status, error.code, error.param) == (400, "too_large", "prompt")
    assert adjusted(prompt=prompt, logprobs=logprobs).adjustments == (), "without `echo` nothing is said of the prompt"


def test_more_stop_sequences_are_legal_than_of_a_chat_completion() -> None:
    assert adjusted(stop=["\nclass", "\ndef", "\n#", "\nif", "\nprint"]).adjustments == ()


def test_a_suffix_needs_a_model_that_fills_in() -> None:
    with pytest.raises(ApiError, match="`fill_in_the_middle`") as caught:
        adjust(TABLE, {"prompt": "a", "suffix": "b"}, Profile("vllm", frozenset({"completions"})))
    assert (caught.value.code, caught.value.param) == ("unsupported_capability", "suffix")


def test_the_engine_generates_all_candidates_and_ranks_none() -> None:
    body = json.loads(COMPLETIONS.engine_body({"prompt": "a", "n": 2, "best_of": 5}, "m"))
    assert body == {"model": "m", "prompt": "a", "n": 5, "logprobs": 0}
    body = json.loads(COMPLETIONS.engine_body({"prompt": "a", "n": 2, "best_of": 2, "stream": True}, "m"))
    assert body == {"model": "m", "prompt": "a", "n": 2, "stream": True, "stream_options": {"include_usage": True}}


def candidates(*logprobs: list[float]) -> dict[str, Any]:
    """What an engine answers: a text of each of these tokens."""
    choices = [
        {"index": i, "text": str(i), "finish_reason": "length", "logprobs": {"token_logprobs": one}}
        for i, one in enumerate(logprobs)
    ]
    return {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": choices, "usage": USAGE}


@pytest.fixture
async def client(make_gateway: Any, registry: Any) -> Any:
    registry.learn("alpha", ABLE)
    async with client_of(make_gateway()) as client:
        yield client


async def complete(client: Any, relay: Any, answer: dict[str, Any], **fields: Any) -> Any:
    relay.items = [ResponseHead(200, body=json.dumps(answer).encode(), usage=USAGE)]
    return await client.post("/v1/completions", json={"model": "alpha", "prompt": "a"} | fields)


async def test_the_best_of_each_prompt_have_the_likeliest_tokens_on_average(client: Any, relay: Any) -> None:
    answer = candidates([-3.0], [-1.0, -1.0], [-1.5], [-9.0], [-8.0, -6.0], [])
    response = await complete(client, relay, answer, prompt=["a", "b"], n=2, best_of=3)
    assert [(one["index"], one["text"], one["logprobs"]) for one in response.json()["choices"]] == [
        (0, "1", None), (1, "2", None), (2, "5", None), (3, "4", None),
    ]  # fmt: skip
    assert response.json()["usage"] == USAGE, "all were generated"


async def test_the_best_keep_their_log_probabilities_where_these_were_asked_for(client: Any, relay: Any) -> None:
    response = await complete(client, relay, candidates([-3.0], [-1.0]), best_of=2, logprobs=0)
    assert [one["logprobs"] for one in response.json()["choices"]] == [{"token_logprobs": [-1.0]}]


async def test_as_many_as_candidates_are_all_of_them(client: Any, relay: Any) -> None:
    answer = candidates([-3.0], [-1.0])
    assert (await complete(client, relay, answer, n=2, best_of=2)).json() == answer


async def test_a_stream_that_fails_ends_in_its_error_and_without_done(client: Any, relay: Any) -> None:
    relay.items = [ResponseHead(200, EVENT_STREAM), sse.event({"choices": []}), ResponseTail(error=FAILURE.to_wire())]
    response = await client.post("/v1/completions", json={"model": "alpha", "prompt": "a", "stream": True})
    *_, last, rest = response.text.split("\n\n")
    assert (json.loads(last.removeprefix("data: ")), rest) == (FAILURE.envelope(), "")


async def test_a_model_without_the_capability_is_a_400(client: Any) -> None:
    response = await client.post("/v1/completions", json={"model": "beta", "prompt": "a"})
    assert_error(response, 400, "invalid_request_error", "unsupported_capability", "prompt")
