"""Texts that are too long for a model, as every engine refuses them."""

from contract.errors import ApiError

# No text that somebody reads has so many. What has more is refused uncounted: counting 30 MB takes a minute and
# seven gigabytes.
MAX_CHARACTERS_PER_TOKEN = 64
COUNTED_AT_ONCE = 64  # texts; what is too much in all is found without counting all of it


def endless(text: str, place: str, limit: int) -> ApiError | None:
    """What is wrong with a text that need not be counted. `limit` is the model's, in tokens."""
    if len(text) <= limit * MAX_CHARACTERS_PER_TOKEN:
        return None
    return too_long(f"`{place}` has {len(text)} characters; the model takes {limit} tokens", place)


def too_long(message: str, place: str) -> ApiError:
    return ApiError("context_length_exceeded", f"{message}. Shorten it, or split it.", param=place)
