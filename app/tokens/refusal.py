"""Why a token is refused, as the client reads it: never with any part of the token."""

from contract.errors import ApiError

# RFC 6750: a client that can get itself a new token acts on it.
CHALLENGE = 'Bearer error="invalid_token"'


def refused(fault: str) -> ApiError:
    """A 401; `fault` is what is wrong with the token, and what to do."""
    return ApiError("invalid_api_key", f"This token is not valid here: {fault}", challenge=CHALLENGE)


def unavailable(retry_after: int) -> ApiError:
    """A 503: whether the token is good is not known now, so it is neither let in nor refused."""
    message = "This token cannot be checked now: its issuer does not answer with its keys. Retry after a pause."
    return ApiError("issuer_unavailable", message, retry_after=retry_after)
