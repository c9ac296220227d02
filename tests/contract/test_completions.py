"""POST /v1/completions with the openai package and on the wire."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from app.endpoints.completions import MAX_STOPS
from app.keys import LOCAL_KEY
from tests import openai_answers
from tests.conftest import Service
from tests.contract.conftest import EMBEDDING_MODEL, MODEL, NO_END, SPECULATING_MODEL
from tests.openai_answers import check_shape, events_of

COMPLETIONS = "/v1/completions"
PROMPT = "The quick brown fox"
SAME = {"model": MODEL, "prompt": PROMPT, "max_tokens": 24, "seed": 7, "temperature": 1.0}
MODES: dict[str, dict[str, Any]] = {
    "plain": {"max_tokens": 6, "logit_bias": NO_END},
    "to its end": {"max_tokens": 300},
    "two prompts, two choices": {"prompt": ["a", "b"], "n": 2},
    "log probabilities": {"logprobs": 2},
    "the best": {"best_of": 3, "n": 2},
    "the best with log probabilities": {"best_of": 3, "logprobs": 0},
    "echo": {"echo": True},
    "the prompt alone": {"echo": True, "max_tokens": 0},
    "JSON": {"max_tokens": 40, "response_format": {"type": "json_object"}},
    "as many stop sequences as there may be": {"stop": [f"stop {i}" for i in range(MAX_STOPS)]},
    "metadata": {"metadata": {"order": "42"}},
    "speculation": {"model": SPECULATING_MODEL, "max_tokens": 12},
}


@pytest.fixture(scope="module")
def streaming(service: Service) -> Iterator[openai.OpenAI]:
    """Not strict: OpenAI's types do not know that `finish_reason` is null in all chunks but the last."""
    with openai.OpenAI(base_url=service.base_url, api_key=LOCAL_KEY, max_retries=0) as client:
        yield client


def complete(http: httpx.Client, **fields: Any) -> Any:
    response = http.post(COMPLETIONS, json={"model": MODEL, "prompt": PROMPT} | fields)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_is_of_openai_s_shape(http: httpx.Client, mode: str) -> None:
    check_shape(openai_answers.COMPLETION, complete(http, **MODES[mode]))


def test_an_answer_has_text_a_finish_reason_and_usage(client: Any) -> None:
    answer = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=8, logit_bias=NO_END)
    (choice,) = answer.choices
    assert (answer.object, answer.model, choice.finish_reason) == ("text_completion", MODEL, "length")
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    assert answer._request_id in answer.id


def test_without_a_limit_it_is_sixteen_tokens(client: Any) -> None:
    assert client.completions.create(model=MODEL, prompt=PROMPT, logit_bias=NO_END).usage.completion_tokens == 16


async def test_a_stream_reads_the_same_as_a_whole_answer(streaming: Any, async_client: Any) -> None:
    whole = await async_client.completions.create(**SAME)
    chunks = list(streaming.completions.create(**SAME, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_on_the_wire_has_its_usage_where_requested(http: httpx.Client, usage: bool) -> None:
    body = {"model": MODEL, "prompt": ["a", "b"], "n": 2, "max_tokens": 4, "logit_bias": NO_END, "stream": True}
    response = http.post(COMPLETIONS, json=body | {"stream_options": {"include_usage": usage}})
    assert response.text.endswith("\n\ndata: [DONE]\n\n")
    chunks = events_of(response)
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks if "usage" in chunk] == [16] * usage
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    for index in range(4):
        *without, reason = [choice["finish_reason"] for choice in choices if choice["index"] == index]
        assert (reason, set(without) - {None}) == ("length", set())
    assert set().union(*choices) == {"index", "text", "logprobs", "finish_reason"}


def test_prompts_of_text_and_of_token_ids_are_answered_in_their_order(http: httpx.Client) -> None:
    same = {"max_tokens": 6, "temperature": 0}
    alone = [complete(http, prompt=text, **same)["choices"][0]["text"] for text in ("the fox", "the gateway")]
    assert [one["text"] for one in complete(http, prompt=["the fox", "the gateway"], **same)["choices"]] == alone
    ids = [[30, 40, 50], [60, 70]]
    together = complete(http, prompt=ids, **same)
    assert [one["text"] for one in together["choices"]] == [
        complete(http, prompt=one, **same)["choices"][0]["text"] for one in ids
    ]
    assert together["usage"]["prompt_tokens"] == 5


def test_n_texts_of_each_prompt_stand_together(http: httpx.Client) -> None:
    answer = complete(http, prompt=["a", "b"], n=2, echo=True, max_tokens=2)
    assert [(one["index"], one["text"][0]) for one in answer["choices"]] == [(0, "a"), (1, "a"), (2, "b"), (3, "b")]


CUT = "\N{REPLACEMENT CHARACTER}"


class TestEcho:
    def test_the_prompt_stands_before_the_text(self, http: httpx.Client) -> None:
        same = {"max_tokens": 4, "temperature": 0}
        text = complete(http, **same)["choices"][0]["text"]
        assert complete(http, **same, echo=True)["choices"][0]["text"] == PROMPT + text

    def test_every_token_of_prompt_and_text_has_its_log_probability_and_place(self, http: httpx.Client) -> None:
        answer = complete(http, echo=True, logprobs=2, max_tokens=3, logit_bias=NO_END)
        (choice,) = answer["choices"]
        found = choice["logprobs"]
        length = answer["usage"]["total_tokens"]
        assert {name: len(values) for name, values in found.items()} == dict.fromkeys(
            ("text_offset", "token_logprobs", "tokens", "top_logprobs"), length
        )
        assert (found["token_logprobs"][0], found["top_logprobs"][0]) == (None, None), "nothing stands before the first"
        assert all(value <= 0 for value in found["token_logprobs"][1:])
        assert all(2 <= len(rivals) <= 3 for rivals in found["top_logprobs"][1:])
        # A text that is cut within a character ends in a mark, which is no token's.
        assert "".join(found["tokens"]).replace(CUT, "") == choice["text"].replace(CUT, "")
        assert found["text_offset"][1] == len(found["tokens"][0])
        assert "prompt_logprobs" not in choice

    def test_a_prompt_alone_is_returned_without_a_token_of_the_model_s(self, http: httpx.Client) -> None:
        (choice,) = complete(http, echo=True, max_tokens=0, logprobs=1)["choices"]
        assert choice["text"] == PROMPT == "".join(choice["logprobs"]["tokens"])

    def test_token_ids_are_returned_as_text(self, http: httpx.Client) -> None:
        (choice,) = complete(http, prompt=[30, 40, 50], echo=True, max_tokens=0, logprobs=0)["choices"]
        assert len(choice["logprobs"]["tokens"]) == 3
        assert choice["text"] == "".join(choice["logprobs"]["tokens"])

    def test_a_stream_begins_with_the_prompt(self, http: httpx.Client) -> None:
        same = {"echo": True, "logprobs": 1, "max_tokens": 3, "seed": 1}
        whole = complete(http, **same)["choices"][0]
        body = {"model": MODEL, "prompt": PROMPT, "stream": True} | same
        chunks = [chunk["choices"][0] for chunk in events_of(http.post(COMPLETIONS, json=body))]
        assert "".join(chunk["text"] for chunk in chunks) == whole["text"]
        streamed = [value for chunk in chunks for value in chunk["logprobs"]["token_logprobs"]]
        assert streamed == pytest.approx(whole["logprobs"]["token_logprobs"], abs=1e-4, nan_ok=True)

    def test_a_model_that_speculates_scores_a_prompt_likewise(self, http: httpx.Client) -> None:
        scores = [
            complete(http, model=model, echo=True, logprobs=1, max_tokens=0)["choices"][0]["logprobs"]["token_logprobs"]
            for model in (MODEL, SPECULATING_MODEL)
        ]
        assert scores[1][1:] == pytest.approx(scores[0][1:], abs=1e-4)


def test_the_best_is_the_likeliest_of_its_candidates(http: httpx.Client) -> None:
    same = {"max_tokens": 4, "seed": 5, "logprobs": 0, "logit_bias": NO_END}

    def mean(choice: Any) -> float:
        return sum(choice["logprobs"]["token_logprobs"]) / 4

    every = sorted(complete(http, **same, n=4)["choices"], key=mean, reverse=True)
    answer = complete(http, **same, n=2, best_of=4)
    assert [one["text"] for one in answer["choices"]] == [one["text"] for one in every[:2]]
    assert [one["index"] for one in answer["choices"]] == [0, 1]
    assert answer["usage"]["completion_tokens"] == 16


def test_stop_ends_the_text_and_is_left_out(http: httpx.Client) -> None:
    text = complete(http, **SAME)["choices"][0]["text"]
    stop = next(letter for letter in text if letter.isascii() and letter.isalnum())
    (choice,) = complete(http, **SAME, stop=[stop])["choices"]
    assert (choice["finish_reason"], choice["text"]) == ("stop", text[: text.index(stop)])


def test_json_follows_its_schema(http: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema | {"additionalProperties": False}}}
    text = complete(http, response_format=form, max_tokens=60)["choices"][0]["text"]
    assert json.loads(text)["a"] in ("x", "y")


def test_a_change_is_reported_and_refused_where_it_is_not_wanted(http: httpx.Client) -> None:
    body = {"model": MODEL, "prompt": "a", "temperature": 9, "max_tokens": 1, "surprise": 1}
    adjustments = http.post(COMPLETIONS, json=body).headers["x-param-adjustments"]
    assert adjustments == 'temperature;action=clamp;from=9;to=2.0, surprise;action=drop;reason="unknown parameter"'
    response = http.post(COMPLETIONS, json=body | {"strict_params": True})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "temperature")


LONG = "word " * 20_000
ERRORS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no prompt": ({"prompt": None}, 400, "missing_required_parameter", "prompt"),
    "a suffix": ({"suffix": "end"}, 400, "unsupported_capability", "suffix"),
    "a token of no model": ({"prompt": [384]}, 400, "invalid_value", "prompt"),
    "a text that is too long": ({"prompt": LONG}, 422, "context_length_exceeded", "prompt"),
    "one of several that is": ({"prompt": ["a", LONG]}, 422, "context_length_exceeded", "prompt"),
    "too many token ids": ({"prompt": [7] * 3000}, 422, "context_length_exceeded", "prompt"),
    "no room for an answer": ({"prompt": [7] * 2048}, 422, "context_length_exceeded", "prompt"),
    "no room for an echo": (
        {"prompt": [7] * 2048, "echo": True, "max_tokens": 0}, 422, "context_length_exceeded", "prompt",
    ),
    "a stream that is too long": ({"prompt": LONG, "stream": True}, 422, "context_length_exceeded", "prompt"),
    "a bad schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}},
        422, "invalid_json_schema", "response_format.json_schema.schema",
    ),
    "a model of another kind": ({"model": EMBEDDING_MODEL}, 400, "unsupported_capability", "prompt"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ERRORS)
def test_a_fault_is_named_in_the_envelope(http: httpx.Client, fault: str) -> None:
    fields, status, code, param = ERRORS[fault]
    response = http.post(COMPLETIONS, json={"model": MODEL, "prompt": "a", "max_tokens": 2} | fields)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), error
    assert error["param"] == param
    check_shape(openai_answers.ERROR, response.json())


def test_it_is_a_route_of_every_pipeline(http: httpx.Client) -> None:
    response = http.post(f"/v1/{MODEL}/completions", json={"prompt": "a", "max_tokens": 1})
    assert response.json()["model"] == MODEL
