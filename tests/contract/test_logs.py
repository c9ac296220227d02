"""The logs of the running service: every line has the one form, and a request's id finds all of its lines."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import Service, entry_of
from tests.contract.test_commands import portico

# Ray writes these into the output of each of its processes.
MARKS = re.compile(r":(actor_name|job_id|task_name):")
REPLICA = re.compile(r":actor_name:ServeReplica:portico:(.+)")
# What is no log line: torch's own C++ code, and bars that no library lets be switched off.
FOREIGN = re.compile(r"[WE]\d{4} |\[[WE]\d+ |.*it/s\]|$")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LEVELS = {"debug", "info", "warning", "error", "critical"}
MARKER = "a purple zeppelin over Zanzibar"
SECONDS = 15  # in which a line is written


def outputs(service: Service) -> Iterator[tuple[str, Path]]:
    """What the replicas print, each with its deployment's name."""
    for path in service.ray_folder.glob("ray/session_2*/logs/worker-*.*"):
        if found := REPLICA.search(path.read_text(errors="replace")[:500]):
            yield found[1], path


def written(path: Path) -> list[str]:
    lines = path.read_text(errors="replace").split("\n")
    return [line for line in lines if not MARKS.match(line) and not FOREIGN.match(line)]


def serve_s_own(service: Service) -> list[str]:
    """What Serve's controller, its proxies and its replicas write into files of theirs."""
    return [line for path in service.ray_folder.glob("ray/session_2*/logs/serve/*.log") for line in written(path)]


def lines_of(service: Service, request_id: str, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """The lines of a request, by their logger."""
    deadline = time.monotonic() + SECONDS
    while True:
        texts = [line for _, path in outputs(service) for line in written(path) if request_id in line]
        found = {line["logger"]: line for line in map(json.loads, texts)}
        if wanted <= found.keys() or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@pytest.fixture(scope="module")
def failed(http: httpx.Client) -> str:
    """The id of a request that its engine refused."""
    messages = [{"role": "user", "content": f"{MARKER} " * 500}]
    response = http.post("/v1/chat/completions", json={"model": "pocket-chat", "messages": messages})
    assert response.status_code == 422
    return response.headers["x-request-id"]


def test_the_id_of_a_failed_request_finds_the_lines_of_the_gateway_and_of_the_replica(
    service: Service, failed: str
) -> None:
    found = lines_of(service, failed, {"portico.access", "portico.request"})
    gateway, replica = found["portico.access"], found["portico.request"]
    assert (gateway["deployment"], replica["deployment"]) == ("gateway", "pocket-chat")
    for line in (gateway, replica):
        assert line["request_id"] == failed
        assert (line["status"], line["reason"]) == (422, "context_length_exceeded")
        assert line["message"] == "/v1/chat/completions 422 context_length_exceeded"
    assert gateway["replica"] != replica["replica"]


@pytest.mark.usefixtures("failed")
def test_every_line_of_gateway_replicas_and_engines_has_the_form(service: Service) -> None:
    texts = [(name, line) for name, path in outputs(service) for line in written(path)]
    texts += [("", line) for line in serve_s_own(service)]
    seen = set()
    for deployment, text in texts:
        line = json.loads(text)  # whatever is no JSON fails here
        assert TIME.fullmatch(line["time"]), text
        assert line["level"] in LEVELS, text
        assert line["node"], text
        assert {"logger", "message"} <= line.keys(), text
        if deployment:
            assert (line["deployment"], bool(line["replica"])) == (deployment, True), text
        seen.add(line["logger"])
    assert {"portico.access", "portico.request"} <= seen


def test_the_engine_s_own_process_writes_in_it_at_the_level_of_its_model(service: Service) -> None:
    """Its entry says debug; those beside it have VLLM_LOGGING_LEVEL in their environment."""
    lines: dict[str, list[Any]] = {"pocket-chat": [], "pocket-vision": []}
    for name, path in outputs(service):
        if name in lines:
            lines[name] += [json.loads(line) for line in written(path)]
    of_engine = [line for line in lines["pocket-chat"] if line["logger"] == "vllm.v1.engine.core"]
    assert "debug" in {line["level"] for line in of_engine}
    assert {line["level"] for line in lines["pocket-vision"] if line["logger"].startswith("vllm")} <= {"error"}


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": MARKER}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": MARKER}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": MARKER}], "stream": True}),
        ("/v1/completions", {"prompt": MARKER}),
        ("/v1/tokenize", {"prompt": MARKER}),
        ("/v1/chat/completions", {
            "messages": [{"role": "user", "content": MARKER}],
            "tools": [{"type": "function", "function": {"name": "look", "description": MARKER}}],
            "tool_choice": {"type": "function", "function": {"name": "look"}},
        }),
    ],
    ids=["chat", "messages", "stream of messages", "completions", "tokenize", "tools"],
)  # fmt: skip
def test_no_text_of_a_request_is_in_any_log_at_debug(
    service: Service, http: httpx.Client, route: str, body: dict[str, Any]
) -> None:
    response = http.post(route, json={"model": "pocket-chat", "max_tokens": 8} | body)
    assert response.status_code == 200, response.text
    assert "portico.request" in lines_of(service, response.headers["x-request-id"], {"portico.request"})
    for path in service.ray_folder.glob("ray/session_2*/logs/**/*"):
        if path.is_file():
            assert MARKER not in path.read_text(errors="replace"), path


def audited(service: Service, what: str, path: str, value: Any = None) -> dict[str, Any]:
    """The newest line of the gateway's audit log of that kind after which `path` is there, with that value.

    Raises IndexError where there is none in time.
    """
    deadline = time.monotonic() + SECONDS
    while True:
        texts = [line for name, file in outputs(service) if name == "gateway" for line in written(file)]
        lines = [line for line in map(json.loads, texts) if line["logger"] == "portico.audit" and line["what"] == what]
        found = [line for line in lines if path in line["after"] and value in (None, line["after"][path])]
        if found or time.monotonic() > deadline:
            return found[-1]
        time.sleep(0.2)


def test_the_gateway_s_audit_log_has_the_configuration_with_which_it_came_up(service: Service) -> None:
    line = audited(service, "config.changed", "models.pocket-chat.task")
    assert (line["before"], line["who"], line["deployment"]) == ({}, {"kind": "unknown"}, "gateway")
    assert line["after"]["models.pocket-chat.log_level"] == "debug"
    assert line["after"]["models.pocket-chat.env.HF_HUB_OFFLINE"] == "(redacted)"
    assert "sha256" not in " ".join(line["after"]) or line["after"]["keys.local0000000.sha256"] == "(redacted)"


def test_a_key_that_a_command_makes_is_in_its_audit_log_and_the_gateway_s(service: Service) -> None:
    made = json.loads(portico("keys", "create", "--file", str(service.key_file), "--json").stdout)
    shown = portico("audit", "--file", str(service.key_file.with_suffix(".audit.jsonl")), "--key", made["id"], "--json")
    (line,) = json.loads(shown.stdout)
    assert (line["what"], line["who"]["command"]) == ("key.created", "portico keys create")
    seen = audited(service, "key_file.changed", f"{made['id']}.created")
    assert seen["replica"]
    assert made["key"] not in json.dumps([line, seen])


def test_a_change_of_a_model_s_level_restarts_no_replica(service: Service, tmp_path: Path) -> None:
    config = service.printed.with_name("config.yaml")
    content = yaml.safe_load(config.read_text())
    entry_of(content["applications"][0]["args"]["models"], "pocket-chat")["log_level"] = "info"
    changed = tmp_path / "config.yaml"
    changed.write_text(yaml.safe_dump(content))
    before = sorted(outputs(service))
    for path, level in ((changed, "info"), (config, "debug")):
        result = portico("deploy", str(path), "--port", str(service.port))
        assert result.returncode == 0, result.stdout + result.stderr
        newest = audited(service, "config.changed", "models.pocket-chat.log_level", level)
        assert newest["after"] == {"models.pocket-chat.log_level": level}
    assert sorted(outputs(service)) == before  # each process has an output of its own
