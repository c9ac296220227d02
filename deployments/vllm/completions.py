"""vLLM's answers to completions, turned into the contract's. Written for vLLM 0.32.

They repeat the log probabilities of an echoed prompt, in a form of their own that is large and not OpenAI's.
"""

from typing import Any

import orjson

from contract.protocol import RequestHead
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
        if "metadata" in request.echo:
            answer["metadata"] = request.echo["metadata"]
        return orjson.dumps(answer), answer.get("usage")

    def stream(self, request: RequestHead) -> ChatStream:
        return ChatStream(self.errors, request, mend)


def mend(answer: dict[str, Any]) -> None:
    """Make vLLM's completion, or a chunk of one, OpenAI's, in place."""
    mend_common(answer)
    for choice in answer["choices"]:
        for name in NOT_ASKED_FOR:
            choice.pop(name, None)
