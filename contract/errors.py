"""Every error a client can get: its HTTP status, its type, its code, and the one envelope they all travel in."""

import re
from typing import Any

import orjson

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"

# code -> (HTTP status, type). A code that is not here does not exist.
CODES: dict[str, tuple[int, str]] = {
    "invalid_json": (400, INVALID_REQUEST),
    "invalid_form": (400, INVALID_REQUEST),
    "missing_required_parameter": (400, INVALID_REQUEST),
    "invalid_type": (400, INVALID_REQUEST),
    "invalid_value": (400, INVALID_REQUEST),
    "unsupported_parameter": (400, INVALID_REQUEST),
    "unsupported_capability": (400, INVALID_REQUEST),
    "unsupported_content_encoding": (400, INVALID_REQUEST),
    "too_large": (400, INVALID_REQUEST),
    "content_policy_violation": (400, INVALID_REQUEST),
    "invalid_api_key": (401, "authentication_error"),
    "model_not_allowed": (403, "permission_error"),
    "insufficient_permissions": (403, "permission_error"),
    "model_not_found": (404, "not_found_error"),
    "model_failed": (404, "not_found_error"),
    "unknown_url": (404, "not_found_error"),
    "key_not_found": (404, "not_found_error"),
    "method_not_allowed": (405, INVALID_REQUEST),
    "conflict": (409, INVALID_REQUEST),
    "request_too_large": (413, INVALID_REQUEST),
    "context_length_exceeded": (422, INVALID_REQUEST),
    "invalid_json_schema": (422, INVALID_REQUEST),
    "invalid_image_url": (400, INVALID_REQUEST),
    "invalid_image": (422, INVALID_REQUEST),
    "invalid_audio": (422, INVALID_REQUEST),
    "rate_limit_exceeded": (429, "rate_limit_error"),
    "insufficient_quota": (429, "rate_limit_error"),
    "internal_error": (500, SERVER_ERROR),
    "upstream_error": (502, SERVER_ERROR),
    "overloaded": (503, SERVER_ERROR),
    "model_starting": (503, SERVER_ERROR),
    "issuer_unavailable": (503, SERVER_ERROR),
    "timeout": (504, SERVER_ERROR),
}

# Seconds a client should wait where nothing better is known. Only these statuses carry Retry-After.
RETRY_AFTER_SECONDS = {429: 1, 503: 5}

# Of every error: some repeat a name that the client chose.
MAX_MESSAGE_LENGTH = 2000
MAX_PARAM_LENGTH = 256
MAX_SHOWN_LENGTH = 100  # of what a client wrote

INTERNAL_MESSAGE = "The server failed to handle this request. Retry it; if it fails again, report the X-Request-Id."


class ApiError(Exception):
    """An answer that is an error. `code` is a key of `CODES` and decides status and type.

    `message` is for a person: what was wrong, what is legal, what to do. It never holds a traceback, a path, an
    address, a key or text of the request's content.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        allow: str | None = None,
        challenge: str = "Bearer",
        beside: dict[str, Any] | None = None,
    ) -> None:
        """`challenge` is what a 401 says in WWW-Authenticate, `beside` what the body has beside `error`."""
        message = message[:MAX_MESSAGE_LENGTH]
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = None if param is None else param[:MAX_PARAM_LENGTH]
        self.status, self.type = CODES[code]
        self.retry_after = retry_after if retry_after is not None else RETRY_AFTER_SECONDS.get(self.status)
        self.allow = allow
        self.challenge = challenge if self.status == 401 else None
        self.beside = beside or {}

    def rename(self, parameter: str, sent: str) -> None:
        """Call a parameter by the name that the client sent it under, in `param` and in the message."""
        self.message = re.sub(rf"`{parameter}(?=[.`])", f"`{sent}", self.message)[:MAX_MESSAGE_LENGTH]
        if self.param is not None:
            self.param = re.sub(rf"^{parameter}(?=\.|$)", sent, self.param)[:MAX_PARAM_LENGTH]

    def envelope(self) -> dict[str, Any]:
        """The JSON body: always the same four keys under `error`."""
        return {
            "error": {"message": self.message, "type": self.type, "code": self.code, "param": self.param}
        } | self.beside

    def body(self) -> bytes:
        return orjson.dumps(self.envelope())

    def headers(self) -> list[tuple[str, str]]:
        headers = [("content-type", "application/json")]
        if self.retry_after is not None:
            headers.append(("retry-after", str(self.retry_after)))
        if self.allow is not None:
            headers.append(("allow", self.allow))
        if self.challenge is not None:
            headers.append(("www-authenticate", self.challenge))
        return headers

    def to_wire(self) -> dict[str, Any]:
        """Plain data for the way from a replica to the gateway."""
        return {"code": self.code, "message": self.message, "param": self.param, "retry_after": self.retry_after}

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> "ApiError":
        return cls(data["code"], data["message"], param=data["param"], retry_after=data["retry_after"])


def shown(text: str) -> str:
    """What a client wrote, such as a path, as an error may repeat it: short and printable."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:MAX_SHOWN_LENGTH])


def internal_error() -> ApiError:
    return ApiError("internal_error", INTERNAL_MESSAGE)


def model_starting() -> ApiError:
    return ApiError("model_starting", "This model is starting. Retry after a pause.", param="model")


def adapter_misfit(adapter_id: str, why: str) -> ApiError:
    """For an adapter that its model cannot take; `why` names no path."""
    return ApiError("model_failed", f"The adapter `{adapter_id}` cannot be used with its model: {why}.", param="model")


# Of what stands before the gateway and answers by itself: HAProxy, Serve.


def service_starting() -> ApiError:
    return ApiError("model_starting", "The service is starting. Retry after a pause.")


def service_timeout() -> ApiError:
    return ApiError("timeout", "The request took longer than the service allows.")


def nothing_here() -> ApiError:
    return ApiError("unknown_url", "There is nothing at this URL. GET /openapi.json lists what there is.")


def upstream_error() -> ApiError:
    return ApiError("upstream_error", "The model failed while it handled this request. Retry it.")
