"""The routes for operators: who may use them, and what they do with keys."""

import os
import stat
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from app.audit.trail import Trail
from app.keys import LOCAL_KEY, hash_key, public_id
from app.keys.file import KeyFile
from tests.console.stand_in import SCOPED_KEY, front
from tests.unit.conftest import assert_error, client_of

ADMIN_KEY = "sk-portico-admin0000000-" + "a" * 43
CREATED = {"name": "A service", "pipelines": ["ready-chat"], "budget": {"requests_per_minute": 60}}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.touch()
    file.write_text('{"keys": []}')
    return file


def application(key_file: Path | None, **changes: Any) -> Any:
    keys = [
        {"id": public_id(ADMIN_KEY), "sha256": hash_key(ADMIN_KEY), "scopes": ["admin"]},
        {"id": public_id(SCOPED_KEY), "sha256": hash_key(SCOPED_KEY)},
    ]
    more = {} if key_file is None else {"key_file": str(key_file)}
    return front(**{"keys": keys, "admin": {"enabled": True}} | more | changes)


@pytest.fixture
def client(key_file: Path) -> httpx.AsyncClient:
    return client_of(application(key_file), ADMIN_KEY)


def entries(key_file: Path) -> dict[str, Any]:
    return {entry.id: entry for entry in KeyFile(key_file).read()}


async def receive_nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def create(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    response = await client.post("/admin/keys", json=CREATED | changes)
    assert response.status_code == 200, response.text
    return dict(response.json())


class TestAccess:
    async def test_by_default_there_are_no_such_routes(self, key_file: Path) -> None:
        async with client_of(application(key_file, admin={}), ADMIN_KEY) as client:
            response = await client.get("/admin/keys")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")

    @pytest.mark.parametrize("path", ["keys", "keys/none", "models", "openapi.json", "nothing", ""])
    async def test_without_a_key_nothing_is_told(self, key_file: Path, path: str) -> None:
        async with client_of(application(key_file), None) as client:
            assert_error(await client.get(f"/admin/{path}"), 401, "authentication_error", "invalid_api_key")

    @pytest.mark.parametrize("path", ["keys", "keys/none", "models", "openapi.json", "nothing", ""])
    async def test_a_key_without_the_scope_is_refused(self, key_file: Path, path: str) -> None:
        async with client_of(application(key_file), SCOPED_KEY) as client:
            response = await client.get(f"/admin/{path}")
        assert_error(response, 403, "permission_error", "insufficient_permissions")
        assert "`admin`" in response.text
        assert response.headers["x-ratelimit-limit"] == "600"

    async def test_without_the_scope_no_key_is_made(self, key_file: Path) -> None:
        async with client_of(application(key_file), SCOPED_KEY) as client:
            await client.post("/admin/keys", json=CREATED)
        assert entries(key_file) == {}

    async def test_an_answer_is_kept_nowhere_and_has_the_headers_of_all_answers(self, client: Any) -> None:
        response = await client.get("/admin/keys")
        assert response.headers["cache-control"] == "no-store"
        assert {"x-request-id", "x-gateway-overhead-ms", "x-ratelimit-remaining"} <= set(response.headers)

    @pytest.mark.parametrize("path", ["/admin/nothing", "/admin/", "/admin/keys/a/b"])
    async def test_a_path_that_is_none_is_404_in_the_envelope(self, client: Any, path: str) -> None:
        assert_error(await client.get(path), 404, "not_found_error", "unknown_url")

    @pytest.mark.parametrize("path", ["/admin/keys/", "/admin/keys%2f", "/%61dmin/keys", "//admin/keys"])
    async def test_a_path_that_is_nearly_one_leads_nowhere(self, key_file: Path, path: str) -> None:
        """A redirect would have the key sent again; a proxy's rule for /admin sees no escapes."""
        sent = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {ADMIN_KEY}".encode())]
        scope = {"type": "http", "method": "GET", "path": unquote(path), "raw_path": path.encode(), "headers": headers}
        await application(key_file)(scope | {"query_string": b""}, receive_nothing, send)
        assert sent[0]["status"] == 404

    async def test_the_client_s_own_id_of_the_request_is_echoed(self, client: Any) -> None:
        response = await client.get("/admin/keys", headers={"x-client-request-id": "mine"})
        assert response.headers["x-client-request-id"] == "mine"

    async def test_a_wrong_method_is_405_with_those_that_are_right(self, client: Any) -> None:
        response = await client.delete("/admin/keys")
        assert_error(response, 405, "invalid_request_error", "method_not_allowed")
        assert response.headers["allow"] == "GET, POST"

    async def test_the_public_local_key_is_never_an_operator_s(self) -> None:
        key = {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "scopes": ["admin"]}
        with pytest.raises(ValueError, match="local key"):
            application(None, keys=[key])

    async def test_the_document_describes_the_routes(self, client: Any) -> None:
        document = (await client.get("/admin/openapi.json")).json()
        assert {"/admin/keys", "/admin/keys/{key_id}/rotate", "/admin/models"} <= set(document["paths"])


class TestCreate:
    async def test_a_made_key_is_shown_once_and_is_good_at_once(self, client: Any, key_file: Path) -> None:
        made = await create(client)
        assert made["key"].startswith(f"sk-portico-{made['id']}-")
        kept = entries(key_file)[made["id"]]
        assert kept.sha256 == hash_key(made["key"])
        assert made["key"] not in kept.model_dump_json()
        listed = (await client.get("/admin/keys")).json()
        assert made["key"] not in str(listed)
        response = await client.get("/console/data/key", headers={"authorization": f"Bearer {made['key']}"})
        assert response.json()["models"] == ["ready-chat"]

    async def test_it_has_what_was_asked_for(self, client: Any) -> None:
        made = await create(client, expires="2100-01-01T00:00:00Z", weight=3, scopes=["admin"])
        wanted = {"name": "A service", "weight": 3, "scopes": ["admin"], "state": "active", "source": "file"}
        assert made | wanted == made
        assert made["budget"]["requests_per_minute"] == 60
        assert "sha256" not in made

    @pytest.mark.parametrize(
        ("fault", "param"),
        [
            ({"pipelines": ["nothing"]}, "pipelines"),
            ({"weight": 0}, "weight"),
            ({"budget": {"requests_per_minute": -1}}, "budget.requests_per_minute"),
            ({"budget": {"requests_per_minute": 2**60}}, "budget.requests_per_minute"),
            ({"nmae": "x"}, "nmae"),
            ({"sha256": "0" * 64}, "sha256"),
            ({"scopes": ["root"]}, "scopes.0"),
            ({"name": "a\nb"}, "name"),
        ],
        ids=str,
    )
    async def test_a_wrong_fact_is_named_and_makes_nothing(
        self, client: Any, key_file: Path, fault: dict[str, Any], param: str
    ) -> None:
        response = await client.post("/admin/keys", json=CREATED | fault)
        assert_error(response, 400, "invalid_request_error", "invalid_value", param)
        assert entries(key_file) == {}

    async def test_one_that_would_be_expired_is_not_made(self, client: Any, key_file: Path) -> None:
        response = await client.post("/admin/keys", json=CREATED | {"expires": "2020-01-01T00:00:00Z"})
        assert_error(response, 409, "invalid_request_error", "conflict")
        assert entries(key_file) == {}

    @pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 60_000, b"9" * 6000], ids=lambda body: repr(body[:2]))
    async def test_a_body_that_is_no_json_is_refused(self, client: Any, body: bytes) -> None:
        headers = {"content-type": "application/json"}
        response = await client.post("/admin/keys", content=body, headers=headers)
        assert_error(response, 400, "invalid_request_error", "invalid_json")

    async def test_a_body_is_bounded(self, client: Any) -> None:
        response = await client.post("/admin/keys", json={"name": "x" * 70_000})
        assert_error(response, 413, "invalid_request_error", "request_too_large")


class TestUpdate:
    async def test_what_is_named_changes_and_all_else_stays(self, client: Any) -> None:
        made = await create(client, budget={"requests_per_minute": 60, "tokens_per_minute": 9000}, weight=3)
        changes = {"budget": {"tokens_per_minute": None}, "pipelines": None, "name": "Another name"}
        changed = (await client.post(f"/admin/keys/{made['id']}", json=changes)).json()
        assert (changed["name"], changed["pipelines"], changed["weight"]) == ("Another name", None, 3)
        assert changed["budget"] == made["budget"] | {"tokens_per_minute": None}
        assert (await client.get(f"/admin/keys/{made['id']}")).json() == changed

    async def test_a_wrong_fact_is_named_and_changes_nothing(self, client: Any) -> None:
        made = await create(client)
        response = await client.post(f"/admin/keys/{made['id']}", json={"pipelines": ["nothing"]})
        assert_error(response, 400, "invalid_request_error", "invalid_value", "pipelines")
        assert (await client.get(f"/admin/keys/{made['id']}")).json()["pipelines"] == ["ready-chat"]


class TestRotateAndRevoke:
    async def test_a_rotated_key_has_the_same_rights_and_the_old_one_ends_after_the_grace(self, client: Any) -> None:
        old = await create(client, scopes=["admin"])
        new = (await client.post(f"/admin/keys/{old['id']}/rotate", json={"grace_s": 60})).json()
        same = {"name", "pipelines", "scopes", "budget", "weight"}
        assert {name: new[name] for name in same} == {name: old[name] for name in same}
        assert (new["rotated_from"], new["old"]["id"], new["old"]["state"]) == (old["id"], old["id"], "active")
        assert new["old"]["expires"] is not None
        for key in (old, new):
            good = await client.get("/admin/keys", headers={"authorization": f"Bearer {key['key']}"})
            assert good.status_code == 200

    async def test_without_a_body_the_grace_is_a_day(self, client: Any) -> None:
        old = await create(client)
        assert (await client.post(f"/admin/keys/{old['id']}/rotate")).json()["old"]["state"] == "active"

    async def test_a_revoked_key_is_good_for_nothing_at_once(self, client: Any) -> None:
        made = await create(client)
        revoked = (await client.post(f"/admin/keys/{made['id']}/revoke")).json()
        assert revoked["state"] == "revoked"
        response = await client.get("/console/data/key", headers={"authorization": f"Bearer {made['key']}"})
        assert_error(response, 401, "authentication_error", "invalid_api_key")
        again = await client.post(f"/admin/keys/{made['id']}/revoke")
        assert_error(again, 409, "invalid_request_error", "conflict")

    @pytest.mark.parametrize("what", ["", "/rotate", "/revoke"], ids=["retrieve", "rotate", "revoke"])
    async def test_an_unknown_key_is_404_and_not_repeated(self, client: Any, what: str) -> None:
        path = f"/admin/keys/{SCOPED_KEY}{what}"
        response = await (client.post(path) if what else client.get(path))
        assert_error(response, 404, "not_found_error", "key_not_found")
        assert SCOPED_KEY not in response.text

    @pytest.mark.parametrize("what", ["rotate", "revoke"])
    async def test_a_key_of_the_configuration_stays_as_it_is(self, client: Any, what: str) -> None:
        response = await client.post(f"/admin/keys/{public_id(SCOPED_KEY)}/{what}")
        assert_error(response, 409, "invalid_request_error", "conflict")
        assert "configuration" in response.text

    async def test_without_a_key_file_there_is_nothing_to_change(self) -> None:
        async with client_of(application(None), ADMIN_KEY) as client:
            response = await client.post("/admin/keys", json=CREATED)
        assert_error(response, 409, "invalid_request_error", "conflict")
        assert "key_file" in response.text

    async def test_a_key_file_from_a_mounted_secret_is_not_changed_and_no_path_is_told(
        self, tmp_path: Path, key_file: Path
    ) -> None:
        link = tmp_path / "mounted.json"
        link.symlink_to(key_file)
        async with client_of(application(link), ADMIN_KEY) as client:
            response = await client.post("/admin/keys", json=CREATED)
        assert_error(response, 409, "invalid_request_error", "conflict")
        assert str(tmp_path) not in response.text
        assert entries(key_file) == {}

    async def test_the_file_stays_the_owner_s(self, client: Any, key_file: Path) -> None:
        await create(client)
        assert stat.S_IMODE(os.stat(key_file).st_mode) & 0o007 == 0


class TestAuditLog:
    async def test_it_says_which_key_did_what_to_which(self, client: Any, key_file: Path) -> None:
        made = await create(client)
        await client.post(f"/admin/keys/{made['id']}", json={"budget": {"requests_per_minute": 5}})
        await client.post(f"/admin/keys/{made['id']}/revoke")
        lines = Trail(key_file.with_suffix(".audit.jsonl")).read()
        assert [line["what"] for line in lines] == ["key.created", "key.budget_changed", "key.revoked"]
        assert {line["key"] for line in lines} == {made["id"]}
        assert all(line["who"] == {"kind": "key", "key": public_id(ADMIN_KEY)} for line in lines)
        assert (lines[1]["before"], lines[1]["after"]) == (
            {"budget.requests_per_minute": 60}, {"budget.requests_per_minute": 5},
        )  # fmt: skip
        assert made["key"] not in str(lines)


class TestLists:
    async def test_every_key_says_where_it_is_kept(self, client: Any) -> None:
        made = await create(client)
        listed = (await client.get("/admin/keys")).json()
        assert listed["object"] == "list"
        sources = {key["id"]: key["source"] for key in listed["data"]}
        assert sources == {
            public_id(ADMIN_KEY): "configuration", public_id(SCOPED_KEY): "configuration", made["id"]: "file",
        }  # fmt: skip
        assert (await client.get(f"/admin/keys/{made['id']}")).json()["name"] == "A service"

    async def test_every_model_is_there_however_it_is(self, client: Any) -> None:
        models = (await client.get("/admin/models")).json()["data"]
        assert {one["id"]: one["state"] for one in models} == {
            "ready-chat": "ready", "asleep-chat": "asleep", "starting-chat": "starting", "queued-chat": "starting",
            "failed-chat": "failed",
        }  # fmt: skip
