"""POST /v1/completions as lm-evaluation-harness asks for log-likelihoods: what it reads is what the weights say.

The requests and the reading of the answers are those of its `local-completions` (0.4.13). tests/clients/test_lm_eval.py
runs the harness itself.
"""

from typing import Any

import httpx
import pytest

from tests.contract.conftest import MODEL, SPECULATING_MODEL
from tests.loglikelihoods import Likelihood, likeliest, of_text, of_tokens

PAIRS = [([30, 40, 50, 60], [70, 80]), ([5], [6, 7, 8]), ([100] * 300, [200])]


def ask(http: httpx.Client, prompts: Any, contexts: list[int], model: str = MODEL) -> list[Likelihood]:
    """`contexts` are the lengths of the contexts in the prompts, in tokens."""
    body = {
        "model": model, "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True,
    }  # fmt: skip
    response = http.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    assert "x-param-adjustments" not in response.headers
    read = []
    for choice, length in zip(sorted(response.json()["choices"], key=lambda one: one["index"]), contexts, strict=True):
        logprobs = choice["logprobs"]["token_logprobs"][length:-1]  # the last token is the model's own
        rivals = choice["logprobs"]["top_logprobs"][length:-1]
        greedy = all(one == max(top.values()) for one, top in zip(logprobs, rivals, strict=True))
        read.append(Likelihood(sum(logprobs), greedy))
    return read


def assert_alike(found: list[Likelihood], expected: list[Likelihood]) -> None:
    assert [one.logprob for one in found] == pytest.approx([one.logprob for one in expected], abs=1e-3)
    assert [one.is_greedy for one in found] == [one.is_greedy for one in expected]


@pytest.mark.parametrize("model", [MODEL, SPECULATING_MODEL])
def test_of_several_prompts_of_token_ids(http: httpx.Client, model: str) -> None:
    prompts = [context + continuation for context, continuation in PAIRS]
    found = ask(http, prompts, [len(context) for context, _ in PAIRS], model)
    assert_alike(found, [of_tokens(context, continuation) for context, continuation in PAIRS])


def test_of_what_the_model_itself_says_next(http: httpx.Client) -> None:
    context = [30, 40, 50, 60]
    greedy: list[int] = []
    for _ in range(3):
        greedy.append(likeliest(context + greedy))
    (found,) = ask(http, [context + greedy], [len(context)])
    assert found.is_greedy
    assert_alike([found], [of_tokens(context, greedy)])


def test_of_a_text(http: httpx.Client) -> None:
    context, continuation = "The quick brown fox", " jumps over the lazy dog"
    length = http.post("/v1/tokenize", json={"model": MODEL, "prompt": context}).json()["count"]
    assert_alike(ask(http, [context + continuation], [length]), [of_text(context, continuation)])
