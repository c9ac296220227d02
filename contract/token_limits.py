"""What one request of texts or token ids may hold: refused by the gateway where it can count, else by the engine."""

from contract.errors import ApiError

MAX_TOKENS = 300_000  # of one request, all inputs together


def too_many_tokens(name: str) -> ApiError:
    message = f"The inputs have more than {MAX_TOKENS} tokens together, the limit of a request. Send them in several."
    return ApiError("context_length_exceeded", message, param=name)
