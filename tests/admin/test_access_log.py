"""The routes for operators: what the access log and the metrics get of each request."""

from typing import Any

import pytest

from app.keys import LOCAL_KEY, hash_key, public_id
from app.telemetry.record import RequestRecord
from tests.console.stand_in import SCOPED_KEY, front
from tests.unit.conftest import client_of

ADMIN_KEY = "sk-portico-admin0000000-" + "a" * 43
REQUEST_ID = "5b1f2f0e-7b0e-4b7e-9d7a-3a7f1c2d4e5f"


async def record_of(method: str, path: str, key: str | None = ADMIN_KEY, **more: Any) -> RequestRecord:
    """What is kept of one request."""
    records: list[RequestRecord] = []
    keys = [
        {"id": public_id(ADMIN_KEY), "sha256": hash_key(ADMIN_KEY), "scopes": ["admin"]},
        {"id": public_id(SCOPED_KEY), "sha256": hash_key(SCOPED_KEY)},
    ]
    application = front(keys=keys, admin={"enabled": True}, keep=records.append)
    async with client_of(application, key) as client:
        response = await client.request(method, path, **more)
    (record,) = records
    assert (record.status, record.request_id) == (response.status_code, response.headers["x-request-id"])
    assert record.total_s > 0
    return record


async def test_it_has_the_key_the_route_and_the_outcome() -> None:
    record = await record_of("GET", "/admin/keys", headers={"x-request-id": REQUEST_ID})
    assert (record.request_id, record.key_id, record.route) == (REQUEST_ID, public_id(ADMIN_KEY), "/admin/keys")
    assert (record.status, record.reason) == (200, "ok")


@pytest.mark.parametrize(
    ("method", "path", "route", "reason"),
    [
        ("GET", "/admin/keys/0000000000000000", "/admin/keys/{key_id}", "key_not_found"),
        ("GET", "/admin/made-up", "/admin/", "unknown_url"),
        ("DELETE", "/admin/keys", "/admin/keys", "method_not_allowed"),
        ("POST", "/admin/keys", "/admin/keys", "invalid_value"),
    ],
)
async def test_a_refusal_has_its_reason_and_no_text_of_a_client(
    method: str, path: str, route: str, reason: str
) -> None:
    record = await record_of(method, path, json={"made-up": 1})
    assert (record.route, record.reason) == (route, reason)


@pytest.mark.parametrize(
    ("key", "key_id", "reason"),
    [(None, None, "invalid_api_key"), (SCOPED_KEY, public_id(SCOPED_KEY), "insufficient_permissions")],
)
async def test_who_may_not_use_them_is_named_where_known(key: str | None, key_id: str | None, reason: str) -> None:
    record = await record_of("GET", "/admin/keys", key)
    assert (record.key_id, record.route, record.reason) == (key_id, "/admin/", reason)


async def test_what_goes_to_the_gateway_is_not_counted_twice() -> None:
    records: list[RequestRecord] = []
    application = front(admin={"enabled": True}, keep=records.append)
    async with client_of(application, LOCAL_KEY) as client:
        await client.get("/v1/models")
    assert records == []
