"""POST /v1/completions in the gateway: what of its parameters is legal beside each other, and what replicas get."""

import json
from typing import Any

import pytest

from app.endpoints.completions import COMPLETIONS, MAX_LOGPROBS, MAX_SEQUENCES, TABLE
from app.parameters.adjust import Adjusted, adjust
from app.parameters.texts_or_tokens import how_many
from contract import sse
from contract.errors import ApiError, upstream_error
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, Ranking, ResponseHead, ResponseTail
from tests.unit.conftest import assert_error, client_of
from tests.unit.sample_requests import ABLE

FAILURE = upstream_error()


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


@pytest.mark.parametrize(
    ("fields", "legal"),
    [
        ({"max_tokens": 2048}, True),
        ({"max_tokens": 2048, "logprobs": 1}, True),
        ({"max_tokens": 2048, "logprobs": 2}, False),
        ({"max_tokens": 2048, "logprobs": 2, "prompt": [[1], [2]]}, False),  # 64 of each
        ({"logprobs": 20}, True),  # 16 tokens
    ],
)
def test_candidates_are_compared_up_to_a_bound_of_log_probabilities(fields: Any, legal: bool) -> None:
    fields = {"best_of": MAX_SEQUENCES // how_many(fields.get("prompt", "a"))} | fields
    if legal:
        assert adjusted(**fields).adjustments == ()
        return
    error = refused(**fields)
    assert (error.status, error.code, error.param) == (400, "too_large", "best_of")


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


@pytest.fixture
async def client(make_gateway: Any, registry: Any) -> Any:
    registry.learn("alpha", ABLE)
    async with client_of(make_gateway()) as client:
        yield client


@pytest.mark.parametrize(
    ("fields", "ranking"),
    [
        ({"best_of": 3, "n": 2}, Ranking(3, 2, logprobs=False)),
        ({"best_of": 3, "logprobs": 0}, Ranking(3, 1, logprobs=True)),
        ({"best_of": 2, "n": 2}, None),  # as many as candidates are all of them
        ({"n": 2, "logprobs": 0}, None),
    ],
)
async def test_the_replica_learns_which_candidates_to_keep(client: Any, relay: Any, fields: Any, ranking: Any) -> None:
    relay.items = [ResponseHead(200, body=b"{}")]
    await client.post("/v1/completions", json={"model": "alpha", "prompt": "a"} | fields)
    assert relay.sent[-1][1].ranking == ranking


async def test_a_stream_that_fails_ends_in_its_error_and_without_done(client: Any, relay: Any) -> None:
    relay.items = [ResponseHead(200, EVENT_STREAM), sse.event({"choices": []}), ResponseTail(error=FAILURE.to_wire())]
    response = await client.post("/v1/completions", json={"model": "alpha", "prompt": "a", "stream": True})
    *_, last, rest = response.text.split("\n\n")
    assert (json.loads(last.removeprefix("data: ")), rest) == (FAILURE.envelope(), "")


async def test_a_model_without_the_capability_is_a_400(client: Any) -> None:
    response = await client.post("/v1/completions", json={"model": "beta", "prompt": "a"})
    assert_error(response, 400, "invalid_request_error", "unsupported_capability", "prompt")
