"""What an embeddings request brings, as every engine reads it, and what of it no engine takes."""

from collections.abc import Callable
from typing import Any

from contract.errors import ApiError
from contract.token_limits import MAX_TOKENS, too_many_tokens
from deployments.long_texts import COUNTED_AT_ONCE, endless, too_long

Input = str | list[int]
Tokenize = Callable[[list[str]], list[list[int]]]


def inputs_of(value: Any) -> list[Input]:
    """The texts or token arrays in `input`, which may also be a single one; all are of one kind."""
    if isinstance(value, str) or isinstance(value[0], int):
        return [value]
    return list(value)


def tokens_of(inputs: list[Input], tokenize: Tokenize, limit: int, vocabulary_size: int) -> list[list[int]] | ApiError:
    """The token ids of each input, or what is wrong with the first bad one. `limit` is the model's, of one input."""
    ids: list[list[int]] = []
    total = 0
    for start in range(0, len(inputs), COUNTED_AT_ONCE):
        some = inputs[start : start + COUNTED_AT_ONCE]
        for index, one in enumerate(some, start):
            if fault := _unreadable(one, index, limit, vocabulary_size):
                return fault
        texts = [one for one in some if isinstance(one, str)]
        found = tokenize(texts) if texts else [one for one in some if isinstance(one, list)]
        for index, one in enumerate(found, start):
            if len(one) > limit:
                return too_long(f"`input.{index}` has {len(one)} tokens; the model takes {limit}", f"input.{index}")
        total += sum(map(len, found))
        if total > MAX_TOKENS:
            return too_many_tokens("input")
        ids += found
    return ids


def _unreadable(one: Input, index: int, limit: int, vocabulary_size: int) -> ApiError | None:
    """What can be said of an input before it is tokenized."""
    place = f"input.{index}"
    if isinstance(one, str):
        return endless(one, place, limit)
    if max(one) >= vocabulary_size:
        message = f"`{place}` holds a token id that the model does not have; its ids are 0 to {vocabulary_size - 1}."
        return ApiError("invalid_value", message, param=place)
    return None
