"""Fill in the middle: how models of code want a prompt whose end is known. vLLM knows it of DeepSeek V4 only."""

from collections.abc import Callable
from functools import partial
from typing import Any

FillIn = Callable[[str, str], str]  # (prompt, suffix) -> what the model continues

# The tokens that stand before the prompt, before its end, and before what the model writes.
FORMS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek  # noqa: RUF001 - its bars are wide
)


def fill_in(tokenizer: Any) -> FillIn | None:
    """How the model of that tokenizer fills in; None where it has no tokens for it, or is not transformers' own."""
    for before, between, behind in FORMS:
        try:
            ids = tokenizer.convert_tokens_to_ids([before, between, behind])
        except AttributeError:
            return None
        if not {None, tokenizer.unk_token_id} & set(ids):
            return partial(_filled_in, before, between, behind)
    return None


def _filled_in(before: str, between: str, behind: str, prompt: str, suffix: str) -> str:
    return f"{before}{prompt}{between}{suffix}{behind}"
