"""vLLM's answers about tokens, which are the contract's: of a text, of messages, of the input of a response."""

from typing import Any

from contract.protocol import RequestHead
from deployments.vllm.dialect import EventStream
from deployments.vllm.errors import ErrorMap, Reported, unreported


class TokensDialect:
    """POST /v1/tokenize, /v1/detokenize or /v1/responses/input_tokens. Nothing is generated, so nothing is used."""

    def __init__(self, prompt: str, reported: Reported = unreported) -> None:
        """`prompt` is the parameter that has what is tokenized."""
        self.errors = ErrorMap(prompt=prompt, format="text.format", reported=reported)

    def question(self, body: bytes, _: RequestHead) -> bytes:
        return body

    def body(self, body: bytes, _: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        return body, None

    def stream(self, _: RequestHead) -> EventStream:
        raise TypeError("tokens are never streamed")
