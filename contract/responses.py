"""What the gateway and an engine both write of a Response of POST /v1/responses."""

from typing import Any

# The usage of a Response of which nothing was generated yet. OpenAI's schema has no null there.
NO_USAGE: dict[str, Any] = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
