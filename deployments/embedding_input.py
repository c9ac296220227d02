"""What an embeddings request brings, as every engine reads it, and what of it no engine takes."""

from typing import Any

from app.errors import ApiError

MAX_TOKENS = 300_000  # of one request, all texts together

Input = str | list[int]


def inputs_of(value: Any) -> list[Input]:
    """The texts or token arrays in `input`, which may also be a single one."""
    if isinstance(value, str) or isinstance(value[0], int):
        return [value]
    return list(value)


def unknown_token(inputs: list[Input], vocabulary_size: int) -> ApiError | None:
    """The error of the first array that holds an id which the model does not have."""
    for index, one in enumerate(inputs):
        if isinstance(one, list) and max(one) >= vocabulary_size:
            told = f"`input.{index}` holds a token id that the model does not have; it has {vocabulary_size}."
            return ApiError("invalid_value", told, param=f"input.{index}")
    return None


def too_long(lengths: list[int], limit: int) -> ApiError | None:
    """The error of the first input with more tokens than `limit`, or of all together with too many."""
    for index, length in enumerate(lengths):
        if length > limit:
            told = f"`input.{index}` has {length} tokens; the model takes {limit}."
            return ApiError("context_length_exceeded", told, param=f"input.{index}")
    if sum(lengths) > MAX_TOKENS:
        told = f"The texts have {sum(lengths)} tokens together; {MAX_TOKENS} are legal in a request."
        return ApiError("context_length_exceeded", told, param="input")
    return None
