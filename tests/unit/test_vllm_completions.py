"""vLLM's completions as it words them, and what the contract makes of each."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from contract import sse
from contract.protocol import Ranking, RequestHead
from deployments.vllm.completions import CompletionsDialect
from deployments.vllm.fill_in import FORMS, fill_in
from tests.openai_answers import COMPLETION, check_shape
from tests.unit.test_vllm_chat import USAGE, vllm_error

HEAD = RequestHead("/", "id", include_usage=False, echo={"metadata": {"order": "42"}})
LOGPROBS = {"text_offset": [0], "token_logprobs": [-0.5], "tokens": ["a"], "top_logprobs": [{"a": -0.5}]}
CHOICE = {
    "index": 0, "text": "a", "logprobs": LOGPROBS, "finish_reason": "stop", "stop_reason": None, "token_ids": None,
    "prompt_logprobs": [None, {"7": {"logprob": -1.0}}], "prompt_token_ids": None, "routed_experts": None,
}  # fmt: skip
ANSWER = {
    "id": "cmpl-x", "object": "text_completion", "created": 1, "model": "m", "choices": [CHOICE], "usage": USAGE,
    "service_tier": None, "system_fingerprint": None, "kv_transfer_params": None, "metrics": None,
}  # fmt: skip
CHUNK = {
    "id": "cmpl-x", "object": "text_completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None, "stop_reason": None}],
}  # fmt: skip


def test_an_answer_is_openai_s_with_the_metadata_of_its_request() -> None:
    body, usage = CompletionsDialect().body(json.dumps(ANSWER).encode(), HEAD)
    answer = json.loads(body)
    check_shape(COMPLETION, answer)
    assert answer == {
        "id": "cmpl-x", "object": "text_completion", "created": 1, "model": "m", "metadata": {"order": "42"},
        "choices": [{"index": 0, "text": "a", "logprobs": LOGPROBS, "finish_reason": "stop"}],
        "usage": usage,
    }  # fmt: skip
    assert (usage or {})["completion_tokens"] == 2


def best(ranking: Ranking, *logprobs: list[float]) -> Any:
    """The index, text and log probabilities of what is kept of texts with these tokens."""
    choices = [CHOICE | {"index": i, "text": str(i), "logprobs": tokens(one)} for i, one in enumerate(logprobs)]
    body = json.dumps(ANSWER | {"choices": choices}).encode()
    kept, usage = CompletionsDialect().body(body, HEAD._replace(ranking=ranking))
    answer = json.loads(kept)
    check_shape(COMPLETION, answer)
    assert answer["usage"] == usage
    assert answer["usage"]["completion_tokens"] == USAGE["completion_tokens"], "all were generated"
    return [(one["index"], one["text"], one["logprobs"]) for one in answer["choices"]]


def tokens(logprobs: list[float]) -> dict[str, Any]:
    several = len(logprobs)
    return {
        "text_offset": [0] * several, "token_logprobs": logprobs, "tokens": ["a"] * several,
        "top_logprobs": [{"a": one} for one in logprobs],
    }  # fmt: skip


def test_the_best_of_each_prompt_have_the_likeliest_tokens_on_average() -> None:
    ranking = Ranking(candidates=3, kept=2, logprobs=False)
    assert best(ranking, [-3.0], [-1.0, -1.0], [-1.5], [-9.0], [-8.0, -6.0], []) == [
        (0, "1", None), (1, "2", None), (2, "5", None), (3, "4", None),
    ]  # fmt: skip


def test_the_best_keep_their_log_probabilities_where_these_were_asked_for() -> None:
    assert best(Ranking(candidates=2, kept=1, logprobs=True), [-3.0], [-1.0]) == [(0, "1", tokens([-1.0]))]


def test_a_stream_keeps_its_usage_to_itself_unless_it_was_asked_for() -> None:
    stream = CompletionsDialect().stream(HEAD)
    out = stream.feed(sse.event(CHUNK) + sse.event(CHUNK | {"choices": [], "usage": USAGE}) + sse.DONE)
    chunk, done, rest = out.split(sse.EVENT_END)
    assert json.loads(chunk.removeprefix(b"data: ")) == CHUNK | {
        "choices": [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}], "metadata": {"order": "42"}
    }  # fmt: skip
    assert (done, rest, stream.done) == (b"data: [DONE]", b"", True)
    assert (stream.usage or {})["completion_tokens"] == 2


def test_a_prompt_that_is_too_long_is_named() -> None:
    error = CompletionsDialect().errors.of_answer(400, vllm_error("too long", "input_tokens"))
    assert (error.status, error.code, error.param) == (422, "context_length_exceeded", "prompt")


def tokenizer_of(*tokens: str, unknown: int | None = None) -> Any:
    """As much of a tokenizer as is asked."""
    ids = {token: index for index, token in enumerate(tokens, 1)}
    return SimpleNamespace(
        unk_token_id=unknown, convert_tokens_to_ids=lambda names: [ids.get(name, unknown) for name in names]
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unknown", [None, 0])
def test_a_model_with_tokens_for_it_fills_in(form: tuple[str, str, str], unknown: int | None) -> None:
    render = fill_in(tokenizer_of(*form, unknown=unknown))
    assert render
    assert render("def f(", "):") == f"{form[0]}def f({form[1]}):{form[2]}"


@pytest.mark.parametrize("tokenizer", [tokenizer_of("<fim_prefix>", "<fim_suffix>"), tokenizer_of(unknown=0), object()])
def test_a_model_without_them_does_not(tokenizer: Any) -> None:
    assert fill_in(tokenizer) is None
