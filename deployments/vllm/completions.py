"""vLLM's answers to completions, turned into the contract's. Written for vLLM 0.32.

They repeat the log probabilities of an echoed prompt, in a form of their own that is large and not OpenAI's. vLLM has
no `best_of`: it generates all candidates, and only the best of them leave the replica.
"""

from typing import Any

import orjson

from contract.protocol import Ranking, RequestHead
from deployments.vllm.chat import ChatStream, mend_common
from deployments.vllm.errors import ErrorMap, Reported, unreported

NOT_ASKED_FOR = ("prompt_logprobs", "prompt_token_ids", "token_ids")


class CompletionsDialect:
    """POST /v1/completions as vLLM answers it."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="prompt", format="response_format", reported=reported)

    def question(self, body: bytes, _: RequestHead) -> bytes:
        return body

    def body(self, body: bytes, request: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        answer = orjson.loads(body)
        mend(answer)
        if request.ranking is not None:
            keep_the_best(answer, request.ranking)
        if "metadata" in request.echo:
            answer["metadata"] = request.echo["metadata"]
        return orjson.dumps(answer), answer.get("usage")

    def stream(self, request: RequestHead) -> ChatStream:
        return ChatStream(self.errors, request, turned_chunk)


def turned_chunk(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    mend(chunk)
    return [chunk]


def mend(answer: dict[str, Any]) -> None:
    """Make vLLM's completion, or a chunk of one, OpenAI's, in place."""
    mend_common(answer)
    for choice in answer["choices"]:
        for name in NOT_ASKED_FOR:
            choice.pop(name, None)


def keep_the_best(answer: dict[str, Any], ranking: Ranking) -> None:
    """Leave the likeliest of each prompt's candidates, in place. The usage stays that of all."""
    every = answer["choices"]
    groups = [every[start : start + ranking.candidates] for start in range(0, len(every), ranking.candidates)]
    best = [choice for group in groups for choice in sorted(group, key=_mean_logprob, reverse=True)[: ranking.kept]]
    for index, choice in enumerate(best):
        choice["index"] = index
        if not ranking.logprobs:
            choice["logprobs"] = None
    answer["choices"] = best


def _mean_logprob(choice: dict[str, Any]) -> float:
    logprobs: list[float] = choice["logprobs"]["token_logprobs"]
    return sum(logprobs) / max(len(logprobs), 1)
