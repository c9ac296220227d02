"""The parameter tables against vLLM's own requests: nothing that changes an answer is merely dropped."""

from importlib import import_module

import pytest

from app.endpoints.catalog import ENDPOINTS
from app.parameters.row import Treatment
from contract.protocol import (
    CHAT_ROUTE,
    COMPLETIONS_ROUTE,
    COUNT_TOKENS_ROUTE,
    EMBEDDINGS_ROUTE,
    MESSAGES_ROUTE,
    RESPONSES_ROUTE,
)

OPENAI = "vllm.entrypoints.openai"
REQUESTS = {
    CHAT_ROUTE: f"{OPENAI}.chat_completion.protocol:ChatCompletionRequest",
    RESPONSES_ROUTE: f"{OPENAI}.responses.protocol:ResponsesRequest",
    COMPLETIONS_ROUTE: f"{OPENAI}.completion.protocol:CompletionRequest",
    EMBEDDINGS_ROUTE: "vllm.entrypoints.pooling.embed.protocol:EmbeddingCompletionRequest",
    MESSAGES_ROUTE: "vllm.entrypoints.anthropic.protocol:AnthropicMessagesRequest",
    COUNT_TOKENS_ROUTE: "vllm.entrypoints.anthropic.protocol:AnthropicCountTokensRequest",
}
# Beside an answer that stays the same: when it comes and from where, what else is reported of it, its name.
BESIDE_THE_ANSWER = {
    "cache_salt", "ec_transfer_params", "enable_response_messages", "kv_transfer_params", "logprob_token_ids",
    "mm_payload", "priority", "prompt_logprobs", "request_id", "return_mm_kwargs", "return_prompt_text",
    "return_token_ids", "return_token_offsets", "return_tokens_as_token_ids", "routed_experts_prompt_start",
    "session_id", "stream_interval",
}  # fmt: skip


@pytest.mark.parametrize("route", REQUESTS)
def test_every_parameter_of_vllm_that_changes_an_answer_is_in_the_table(route: str) -> None:
    module, _, name = REQUESTS[route].partition(":")
    table = next(one.table for one in ENDPOINTS if one.path == route)
    fields = set(getattr(import_module(module), name).model_fields)
    assert fields - set(table.by_name) - BESIDE_THE_ANSWER == set()


@pytest.mark.parametrize("route", [CHAT_ROUTE, RESPONSES_ROUTE, COMPLETIONS_ROUTE])
def test_every_constraint_that_vllm_once_had_is_refused(route: str) -> None:
    """vLLM drops them itself by now, and answers without the constraint."""
    from vllm.entrypoints.serve.engine.protocol import _REMOVED_GUIDED_FIELDS

    table = next(one.table for one in ENDPOINTS if one.path == route)
    assert {table.by_name[name].treatment for name in _REMOVED_GUIDED_FIELDS} == {Treatment.REFUSE}
