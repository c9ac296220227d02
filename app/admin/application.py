"""The routes for operators: an ASGI application in front of the gateway, for keys with the scope `admin`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError

from app.admin.key_changes import KeyChanges
from app.admin.key_requests import KeyFacts, Rotation
from app.audit.change import Who, by_key
from app.budgets.account import BudgetStatus
from app.budgets.headers import rate_limit_headers
from app.config.limits import Limits
from app.http.body import ClientGone, Receive, impatient, read_body
from app.http.fastapi_answers import ASGI, answer_errors, error_answer, send_error, with_headers
from app.http.request_id import client_request_id_from, request_id_from
from app.http.response import Send
from app.keys import KeyEntry
from app.keys.entry import Scope
from app.telemetry.record import CLIENT_GONE, OK, RequestRecord
from contract.errors import ApiError, internal_error
from contract.log_lines import current_request

PREFIX = "/admin/"
MAX_BODY_BYTES = 64 * 1024
NOT_ADMIN = "This API key has not the scope `admin`, which this route needs. Use one that has."
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@dataclass(frozen=True)
class Sources:
    """Where what the routes show comes from, and what they change."""

    authenticate: Callable[[str | None, str | None], Awaitable[KeyEntry]]  # (Authorization, address); raises ApiError
    budget_status: Callable[[KeyEntry], BudgetStatus]
    keys: KeyChanges
    models: Callable[[], Awaitable[list[dict[str, Any]]]]
    teams: Callable[[], list[dict[str, Any]]]
    usage: Callable[[str, bytes], Awaitable[dict[str, Any]]]  # (the operator's key, a query); raises ApiError
    keep: Callable[[RequestRecord], None]  # for the access log and the metrics


class Admin:
    """Answers all paths under /admin/, and passes on all others."""

    def __init__(self, sources: Sources, limits: Limits, gateway: ASGI) -> None:
        self._sources = sources
        self._limits = limits
        application: Any = _application(sources)
        self._application: ASGI = application
        self._gateway = gateway

    def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
        """No coroutine of its own for what it passes on, through which each step of a stream would go."""
        path: str = scope["path"]
        sent: bytes = scope.get("raw_path") or path.encode()
        # As it was sent, too: a rule of a proxy for /admin does not see %61dmin.
        if path.startswith(PREFIX) and sent.startswith(PREFIX.encode()):
            return self._answer(scope, receive, send)
        return self._gateway(scope, receive, send)

    async def _answer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        record = RequestRecord(request_id_from(headers.get("x-request-id")), client_request_id_from(headers))
        current_request.set(record.request_id)
        began = time.perf_counter()
        scope = scope | {"state": {}}
        more = HEADERS | {"x-request-id": record.request_id}
        send = _noted(send, record)
        try:
            key = scope["state"]["key"] = await self._key_of(headers, scope, record)
            more |= dict(rate_limit_headers(self._sources.budget_status(key), time.time()))
            _require_admin(key)
            body = await read_body(impatient(receive, self._limits), headers, MAX_BODY_BYTES)
            await self._application(scope, _again(body), with_headers(scope, send, more))
            record.reason = scope["state"].get("reason", OK)
        except ApiError as error:
            record.reason = error.code
            await send_error(error, with_headers(scope, send, more))
        except ClientGone:
            record.reason = CLIENT_GONE
        except Exception:  # FastAPI has answered
            record.reason = internal_error().code
            raise
        finally:
            # The path of the route, not of the request: a label takes nothing that a client made up.
            record.route = scope["route"].path if "route" in scope else PREFIX
            record.total_s = time.perf_counter() - began
            self._sources.keep(record)

    async def _key_of(self, headers: dict[str, str], scope: dict[str, Any], record: RequestRecord) -> KeyEntry:
        address = (scope.get("client") or (None,))[0]
        key = await self._sources.authenticate(headers.get("authorization"), address)
        record.key_id, record.team_id = key.id, key.team
        return key


def _noted(send: Send, record: RequestRecord) -> Send:
    """`send`, with the status of the answer noted."""

    async def send_noted(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
        await send(message)

    return send_noted


def _require_admin(key: KeyEntry) -> None:
    if Scope.ADMIN not in key.scopes:
        raise ApiError("insufficient_permissions", NOT_ADMIN)


def _again(body: bytes) -> Receive:
    """A body that was read, to be read by FastAPI, which has no bounds of its own."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        return await asyncio.Future()  # nobody leaves whom nobody heeds

    return receive


def _who(request: Request) -> Who:
    return by_key(request.state.key.id)


ByKey = Annotated[Who, Depends(_who)]


def _application(sources: Sources) -> FastAPI:
    application = FastAPI(
        title="Portico for operators",
        openapi_url=f"{PREFIX}openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # whoever follows would send the key again, maybe in clear text
    )
    keys = sources.keys

    @application.get("/admin/keys", summary="List keys")
    async def list_keys() -> dict[str, Any]:
        return _list(keys.every())

    @application.post("/admin/keys", summary="Create key")
    async def create_key(who: ByKey, facts: KeyFacts) -> dict[str, Any]:
        """`key` in the answer is the whole key, which is shown this once."""
        return await keys.create(who, facts.model_dump())

    @application.get("/admin/keys/{key_id}", summary="Retrieve key")
    async def retrieve_key(key_id: str) -> dict[str, Any]:
        return keys.one(key_id)

    @application.post("/admin/keys/{key_id}", summary="Update key")
    async def update_key(who: ByKey, key_id: str, facts: KeyFacts) -> dict[str, Any]:
        """What is left out stays, inside the budget too. null takes a bound away."""
        return await keys.update(who, key_id, facts.model_dump(exclude_unset=True))

    @application.post("/admin/keys/{key_id}/rotate", summary="Rotate key")
    async def rotate_key(who: ByKey, key_id: str, rotation: Rotation | None = None) -> dict[str, Any]:
        """A new key in place of this one, which stays valid for the grace time. `key` is the whole new key."""
        return await keys.rotate(who, key_id, rotation or Rotation())

    @application.post("/admin/keys/{key_id}/revoke", summary="Revoke key")
    async def revoke_key(who: ByKey, key_id: str) -> dict[str, Any]:
        """The key is good for nothing from now on, with every replica of the gateway within seconds."""
        return await keys.revoke(who, key_id)

    @application.get("/admin/models", summary="List models and their states")
    async def list_models() -> dict[str, Any]:
        return _list(await sources.models())

    @application.get("/admin/teams", summary="List teams and what they have used in this month")
    async def list_teams() -> dict[str, Any]:
        return _list(sources.teams())

    @application.get("/admin/usage", summary="Retrieve usage")
    async def usage(request: Request) -> dict[str, Any]:
        """Of everybody, as `GET /v1/usage`; `by` may name key and team too, and key, team and model choose some."""
        return await sources.usage(request.state.key.id, request.scope["query_string"])

    application.add_exception_handler(RequestValidationError, _invalid)
    answer_errors(application)
    return application


def _list(data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": data}


async def _invalid(request: Request, error: Exception) -> Any:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return error_answer(request, ApiError("invalid_json", "The body is not valid JSON. Send a JSON object."))
    place = ".".join(str(part) for part in first["loc"][1:])
    return error_answer(
        request, ApiError("invalid_value", f"`{place or 'body'}`: {first['msg']}.", param=place or None)
    )
