"""A client for Python: `openai`'s own, and what this service says beside its answers.

`Portico` and `AsyncPortico` are OpenAI's clients, with all of their methods. On top: `pipeline` fixes the model,
`about` tells an answer's request id, adjustments and budget, and errors have types of their own.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from os import environ
from typing import Any, Self

try:  # elsewhere than in the service's own environment they may be missing
    import openai

    from app.parameters.adjustments import HEADER as ADJUSTMENTS_HEADER
    from app.parameters.adjustments import read_header
    from contract.adjustments import Adjustment
except ModuleNotFoundError as error:
    raise ImportError(
        f"app.client needs the package {error.name}, which is not installed: pip install 'openai>=2' http-sf orjson"
    ) from None

LOCAL_URL = "http://127.0.0.1:8000/v1"  # where `make serve` listens
REMEMBERED = 1000  # answers of which `about` still knows the headers
DURATION = re.compile(r"(?:(\d+)m(?!s))?([\d.]+)(ms|s)")


@dataclass(frozen=True)
class Allowance:
    """Requests or tokens of a key."""

    limit: int  # a minute
    remaining: int
    full_in_s: float  # seconds until all that may be sent at once is there again


@dataclass(frozen=True)
class Budget:
    """What a key may still send."""

    requests: Allowance
    tokens: Allowance | None = None  # None: they are not counted for this key


@dataclass(frozen=True)
class About:
    """What the service said of one request, beside its answer."""

    request_id: str  # a UUID; the service's logs have it
    client_request_id: str | None  # the caller's own X-Client-Request-Id
    adjustments: tuple[Adjustment, ...]  # what was changed in the request; empty: nothing
    unlisted: int  # adjustments that were too many for the header
    budget: Budget | None  # None where no key was recognised
    gateway_ms: float | None  # the gateway's own time, without the engine's
    retry_after_s: int | None  # of an error that a later try may not meet

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """`headers` of a response; their names are in lower case, or in any where the mapping does not mind."""
        adjustments, unlisted = read_header(headers.get(ADJUSTMENTS_HEADER, ""))
        requests = _allowance(headers, "requests")
        overhead, retry_after = headers.get("x-gateway-overhead-ms"), headers.get("retry-after")
        return cls(
            request_id=headers.get("x-request-id", ""),
            client_request_id=headers.get("x-client-request-id"),
            adjustments=adjustments,
            unlisted=unlisted,
            budget=None if requests is None else Budget(requests, _allowance(headers, "tokens")),
            gateway_ms=None if overhead is None else float(overhead),
            retry_after_s=None if retry_after is None else int(retry_after),
        )


def _allowance(headers: Mapping[str, str], what: str) -> Allowance | None:
    limit = headers.get(f"x-ratelimit-limit-{what}")
    if limit is None:
        return None
    remaining, reset = headers[f"x-ratelimit-remaining-{what}"], headers[f"x-ratelimit-reset-{what}"]
    return Allowance(int(limit), int(remaining), _seconds(reset))


def _seconds(duration: str) -> float:
    """Of a duration as OpenAI writes it: 12ms, 1.5s, 6m0s."""
    match = DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is no duration such as 12ms, 1.5s or 6m0s")
    return 60 * int(match[1] or 0) + float(match[2]) / (1000 if match[3] == "ms" else 1)


class ServiceError(openai.APIStatusError):
    """An error of this service. Each is of OpenAI's type for its HTTP status too."""

    @property
    def about(self) -> About:
        return About.of(self.response.headers)


class KeyRefused(ServiceError, openai.AuthenticationError):
    """No key, or one that is not good here."""


class ModelNotAllowed(ServiceError, openai.PermissionDeniedError):
    """The key may not use this model."""


class ModelNotFound(ServiceError, openai.NotFoundError):
    """There is no such model, or it failed to start."""


class ParameterRefused(ServiceError, openai.BadRequestError):
    """The service or the model does not do what a parameter asks for; `param` names it."""


class ContextExceeded(ServiceError, openai.UnprocessableEntityError):
    """The input is longer than the model's context."""


class BudgetSpent(ServiceError, openai.RateLimitError):
    """The key has no requests or tokens left; `about.retry_after_s` says for how long."""


class QuotaSpent(BudgetSpent):
    """The key's team has used what it may in a month; `about.retry_after_s` says when the next one begins."""


class Busy(ServiceError, openai.InternalServerError):
    """The model starts, or all of its replicas are busy; `about.retry_after_s` says when to try again."""


class EngineFailed(ServiceError, openai.InternalServerError):
    """The model failed, or was too slow."""


ERRORS: dict[str, type[ServiceError]] = {
    "invalid_api_key": KeyRefused,
    "model_not_allowed": ModelNotAllowed,
    "model_not_found": ModelNotFound,
    "model_failed": ModelNotFound,
    "unsupported_parameter": ParameterRefused,
    "unsupported_capability": ParameterRefused,
    "context_length_exceeded": ContextExceeded,
    "rate_limit_exceeded": BudgetSpent,
    "insufficient_quota": QuotaSpent,
    "model_starting": Busy,
    "overloaded": Busy,
    "upstream_error": EngineFailed,
    "timeout": EngineFailed,
}


def _typed(error: openai.APIStatusError, message: str) -> openai.APIStatusError:
    """The error in the type of its code, where that has one."""
    kind = ERRORS.get(error.code or "")
    return error if kind is None else kind(message, response=error.response, body=error.body)


class _Seen:
    """The headers of the last answers, by request id. OpenAI's parsed answers keep their request id only."""

    def __init__(self) -> None:
        self._headers: OrderedDict[str, Mapping[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, response: Any) -> None:
        """A hook of the HTTP client."""
        with self._lock:
            self._headers[response.headers.get("x-request-id", "")] = response.headers
            while len(self._headers) > REMEMBERED:
                self._headers.popitem(last=False)

    async def note_later(self, response: Any) -> None:
        """The same for an asynchronous one."""
        self.note(response)

    def about(self, answer: object) -> About:
        """Raises LookupError where it is not known."""
        response = getattr(answer, "response", answer)  # streams, files and errors have their response
        headers = getattr(response, "headers", None)  # raw responses have their headers
        if headers is None:
            headers = self._headers.get(getattr(answer, "_request_id", None) or "")
        if headers is None:
            raise LookupError(
                f"nothing is known of this {type(answer).__name__}: it is no answer of this client, or more than "
                f"{REMEMBERED} came after it. Use `with_raw_response`, whose answers keep their headers"
            )
        return About.of(headers)


def _defaults(options: dict[str, Any], http_client: type) -> dict[str, Any]:
    """`options` of a client, with this service's defaults. Nothing goes to OpenAI because a variable is not set."""
    given = dict(options)
    if given.get("base_url") is None:
        given["base_url"] = environ.get("OPENAI_BASE_URL") or LOCAL_URL
    if given.get("http_client") is None:
        given["http_client"] = http_client()
    return given


def _seen(http_client: Any, hook: str) -> _Seen:
    """What remembers the headers of an HTTP client's answers; several clients may share one."""
    hooks = http_client.event_hooks
    for one in hooks["response"]:
        if isinstance(owner := getattr(one, "__self__", None), _Seen):
            return owner
    seen = _Seen()
    hooks["response"].append(getattr(seen, hook))
    http_client.event_hooks = hooks
    return seen


def _pipeline_url(base_url: object, model_id: str) -> str:
    root, version, _ = f"{str(base_url).rstrip('/')}/".rpartition("/v1/")
    if not version:
        raise ValueError(f"the base URL {base_url} has no /v1, so it is none of this service")
    return f"{root}{version}{model_id}"


class Portico(openai.OpenAI):
    """OpenAI's client for this service. `options` are those of `openai.OpenAI`.

    Left out, the base URL is OPENAI_BASE_URL or that of a local service, and the key OPENAI_API_KEY.
    """

    def __init__(self, **options: Any) -> None:
        given = _defaults(options, openai.DefaultHttpxClient)
        self._seen = _seen(given["http_client"], "note")
        super().__init__(**given)

    def pipeline(self, model_id: str) -> Self:
        """A client of one model: `model` may be "default" there, and another model is an error."""
        return self.copy(base_url=_pipeline_url(self.base_url, model_id))

    def about(self, answer: object) -> About:
        """What the service said beside an answer, a stream, a raw response or an error. Raises LookupError."""
        return self._seen.about(answer)

    def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> openai.APIStatusError:
        return _typed(super()._make_status_error(err_msg, body=body, response=response), err_msg)


class AsyncPortico(openai.AsyncOpenAI):
    """As Portico, for asyncio."""

    def __init__(self, **options: Any) -> None:
        given = _defaults(options, openai.DefaultAsyncHttpxClient)
        self._seen = _seen(given["http_client"], "note_later")
        super().__init__(**given)

    def pipeline(self, model_id: str) -> Self:
        """A client of one model: `model` may be "default" there, and another model is an error."""
        return self.copy(base_url=_pipeline_url(self.base_url, model_id))

    def about(self, answer: object) -> About:
        """What the service said beside an answer, a stream, a raw response or an error. Raises LookupError."""
        return self._seen.about(answer)

    def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> openai.APIStatusError:
        return _typed(super()._make_status_error(err_msg, body=body, response=response), err_msg)
