"""`status`, `logs`, `models`, `chat` and `smoke` on the running service."""

import json
import os
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from app.cli.arguments import Status
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service

KEY = {"authorization": f"Bearer {LOCAL_KEY}"}


def portico(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own: as a driver of Ray it would stand in the way of other tests."""
    unset = ("RAY_ADDRESS", "OPENAI_BASE_URL", "OPENAI_API_KEY", "RAY_AUTH_MODE")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=PROJECT_FOLDER,
        env=environment | {"COLUMNS": "120"} | changes,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_status_shows_every_model_ready(service: Service) -> None:
    result = portico("status", "--port", str(service.port), "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["base_url"] == service.base_url
    assert found["pid"] == service.process.pid
    states = {one["name"]: (one["state"], one["running"]) for one in found["models"]}
    assert {"pocket-chat", "pocket-embed", "pocket-speech", "gateway"} <= set(states)
    assert set(states.values()) == {("ready", 1)}


def test_status_reaches_a_ray_by_its_address_too(service: Service) -> None:
    result = portico("status", "--address", service.ray_address)
    assert result.returncode == 0, result.stderr
    assert "pocket-chat" in result.stdout


def test_logs_has_what_the_replicas_of_a_model_wrote(service: Service) -> None:
    port = str(service.port)
    listed = json.loads(portico("logs", "--port", port, "--json").stdout)
    assert {"pocket-chat", "pocket-embed", "gateway"} <= set(listed)
    assert all(path.startswith("/") for paths in listed.values() for path in paths)
    request_id = httpx.get(f"{service.base_url}/nowhere", headers=KEY).headers["x-request-id"]
    deadline = time.monotonic() + 30  # the gateway writes many lines at once
    while request_id not in (shown := portico("logs", "gateway", "--port", port, "--lines", "5000")).stdout:
        assert time.monotonic() < deadline, shown.stdout[-2000:] + shown.stderr
    assert shown.returncode == 0, shown.stderr
    assert ":actor_name:" not in shown.stdout


def test_logs_of_a_model_that_is_not_there_names_those_that_are(service: Service) -> None:
    result = portico("logs", "pocket-chatt", "--port", str(service.port))
    assert result.returncode == Status.NOT_RIGHT
    assert "pocket-chat," in result.stderr


def test_models_lists_what_the_key_may_use(service: Service) -> None:
    result = portico("models", "--base-url", service.base_url, "--json")
    found = {one["id"]: one for one in json.loads(result.stdout)}
    assert "tools" in found["pocket-chat"]["capabilities"]
    assert found["pocket-chat"]["limits"]["context_length"] == 2048


def test_chat_streams_an_answer_and_tells_its_request_id(service: Service) -> None:
    result = portico("chat", "pocket-chat", "--message", "Hello!", "--max-tokens", "8", "--base-url", service.base_url)
    assert result.returncode == 0, result.stderr
    assert "request " in result.stderr


def test_smoke_gets_a_200_from_every_route(service: Service) -> None:
    result = portico("smoke", service.base_url, "--json")
    found = json.loads(result.stdout)
    assert [one for one in found if not one["good"]] == []
    assert result.returncode == 0
    asked = {one["route"].removeprefix("/v1/") for one in found}
    assert {
        "chat/completions", "responses", "embeddings", "images/generations", "audio/transcriptions", "audio/speech",
        "models", "models/{id}",
    } <= asked  # fmt: skip


def test_smoke_asks_only_what_the_key_may_use(service: Service) -> None:
    created = portico("keys", "create", "--pipelines", "pocket-embed", "--file", str(service.key_file), "--json")
    key = json.loads(created.stdout)["key"]
    wait_until_good(service, key)
    found = json.loads(portico("smoke", service.base_url, "--json", "--api-key", key).stdout)
    asked = {one["route"] for one in found if one["route"].startswith("/v1/")}
    assert asked == {"/v1/models", "/v1/models/{id}", "/v1/embeddings"}


def test_smoke_with_a_wrong_key_ends_with_1(service: Service) -> None:
    result = portico("smoke", service.base_url, "--api-key", LOCAL_KEY[:-1] + "1")
    assert result.returncode == Status.NOT_RIGHT
    assert "The service answers 401" in result.stderr


def wait_until_good(service: Service, key: str) -> None:
    """Until every replica of the gateway has read the key file again."""
    headers: Any = {"authorization": f"Bearer {key}"}
    deadline = time.monotonic() + 30
    while httpx.get(f"{service.base_url}/models", headers=headers).status_code != 200:
        if time.monotonic() > deadline:
            pytest.fail("the key is not good after 30 s")
        time.sleep(0.5)
