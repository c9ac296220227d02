"""Whose API a route belongs to: how its clients send the key, and how they read an error and a request's id."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.endpoints.answers import OBJECT, STRING, Component, const, one_of, record
from contract.errors import CODES, ApiError


@dataclass(frozen=True, kw_only=True)
class ApiStyle:
    """What all routes of one API have in common, whatever became of a request."""

    key_header: str | None = None  # holds the key alone; `Authorization: Bearer` is read everywhere
    request_id_header: str | None = None  # the name of X-Request-Id that its clients read
    base_url: str  # of its clients, for who has a path wrong
    envelope: Callable[[ApiError, str], dict[str, Any]]  # (error, request id) -> the JSON body
    error: Component  # the schema of that body

    def authorization(self, headers: Mapping[str, str]) -> str | None:
        """What the client sent as `Authorization`, or would have sent there. Names of `headers` are in lower case."""
        own = headers.get(self.key_header) if self.key_header else None
        return f"Bearer {own}" if own else headers.get("authorization")


def _openai_envelope(error: ApiError, _: str) -> dict[str, Any]:
    return error.envelope()


OPENAI = ApiStyle(
    base_url="the base URL ends in /v1, and a client adds the rest",
    envelope=_openai_envelope,
    error=Component(
        "Error",
        record(
            {
                "error": record(
                    {
                        "message": STRING,
                        "type": one_of(sorted({kind for _, kind in CODES.values()})),
                        "code": one_of(sorted(CODES)),
                        "param": {"type": ["string", "null"]},
                    }
                )
            }
        ),
    ),
)

# Statuses whose type is another at Anthropic; all others have the same there.
ANTHROPIC_TYPES = {
    413: "request_too_large",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# What its clients act on, by the parameter that is refused: they then send the whole conversation themselves.
ANTHROPIC_DETAILS = {"thread": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}}


def _anthropic_envelope(error: ApiError, request_id: str) -> dict[str, Any]:
    content: dict[str, Any] = {"type": ANTHROPIC_TYPES.get(error.status, error.type), "message": error.message}
    if details := ANTHROPIC_DETAILS.get(error.param or ""):
        content["details"] = details
    return {"type": "error", "error": content, "request_id": request_id}


ANTHROPIC = ApiStyle(
    key_header="x-api-key",
    request_id_header="request-id",
    base_url="the base URL has no /v1 at its end, and a client of this API adds it",
    envelope=_anthropic_envelope,
    error=Component(
        "MessagesError",
        record(
            {
                "type": const("error"),
                "error": record(
                    {
                        "type": one_of(sorted({ANTHROPIC_TYPES.get(status, kind) for status, kind in CODES.values()})),
                        "message": STRING,
                    },
                    {"details": OBJECT},
                ),
                "request_id": STRING,
            }
        ),
    ),
)

# The paths of its routes, for who answers before a route is looked for.
ANTHROPIC_PATHS = "^/v1/(.+/)?messages(/count_tokens)?$"


def style_at(path: str) -> ApiStyle:
    return ANTHROPIC if re.search(ANTHROPIC_PATHS, path) else OPENAI
