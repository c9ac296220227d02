"""What `make serve` shows a newcomer."""

import ipaddress
import json
import re
import shlex
import subprocess
import time
from typing import Any

import psutil
import pytest

from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service
from tests.malformed_http import REQUESTS, send


def test_the_banner_has_all_one_needs_and_its_curl_line_works(service: Service) -> None:
    banner = service.output.split("Portico is ready.")[1]
    assert service.base_url in banner
    assert LOCAL_KEY in banner
    assert "pocket-chat" in banner
    line = next(line for line in banner.splitlines() if line.startswith("curl "))
    answer = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True, timeout=60).stdout
    *events, done = [event for event in answer.split("\n\n") if event]
    assert done == "data: [DONE]"
    assert json.loads(events[0].removeprefix("data: "))["model"] == "pocket-chat"


def test_a_taken_port_is_reported_at_once(service: Service) -> None:
    config = service.printed.with_name("config.yaml")
    command: list[Any] = [PROJECT_FOLDER / ".venv/bin/python", "-m", "app", "serve", config]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_FOLDER, timeout=60, check=False)
    assert result.returncode == 2
    assert f"127.0.0.1:{service.port} cannot be served" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_log_has_a_line_per_request_and_no_key(service: Service) -> None:
    lines = [line for line in service.logged.splitlines() if '"overhead_ms"' in line]
    entry = json.loads(lines[-1][lines[-1].index("{") :])
    assert {"time", "request_id", "key", "route", "model", "status", "reason", "duration_ms"} <= set(entry)
    assert "0" * 43 not in service.logged


def lines_of(service: Service, request_id: str, number: int) -> list[dict[str, Any]]:
    """That many lines of a request in the log. Ray forwards what a process prints after a moment."""
    deadline = time.monotonic() + 15
    while True:
        lines = [line for line in service.logged.splitlines() if f'"request_id":"{request_id}"' in line]
        if len(lines) >= number or time.monotonic() > deadline:
            return [json.loads(line[line.index("{") :]) for line in lines]
        time.sleep(0.2)


@pytest.mark.parametrize("stream", [True, False])
def test_one_id_finds_the_lines_of_the_gateway_and_of_the_engine(service: Service, http: Any, stream: bool) -> None:
    request = {"model": "pocket-chat", "max_tokens": 4, "stream": stream}
    answer = http.post("/v1/chat/completions", json=request | {"messages": [{"role": "user", "content": "A secret."}]})
    gateway, engine = sorted(lines_of(service, answer.headers["x-request-id"], 2), key=lambda line: "key" not in line)
    for name in ("model", "route", "status", "reason", "stream", "prompt_tokens", "completion_tokens"):
        assert engine[name] == gateway[name], name
    assert engine["completion_tokens"] > 0
    assert 0 <= engine["first_byte_ms"] <= engine["engine_ms"] <= gateway["duration_ms"]
    assert engine["queue_ms"] == pytest.approx(gateway["queue_ms"], abs=0.1)
    assert "A secret." not in service.logged


def test_a_request_that_the_engine_refuses_has_the_reason_in_its_line(service: Service, http: Any) -> None:
    too_long = {"model": "pocket-chat", "messages": [{"role": "user", "content": "word " * 5000}]}
    answer = http.post("/v1/chat/completions", json=too_long)
    assert answer.status_code == 422
    lines = lines_of(service, answer.headers["x-request-id"], 2)
    assert [(line["status"], line["reason"]) for line in lines] == [(422, "context_length_exceeded")] * 2


def test_it_prints_a_line_at_each_change_of_a_model_and_nothing_else(service: Service) -> None:
    before, _, banner = service.output.partition("\nPortico is ready.\n")
    first, _, *lines = before.splitlines()
    assert str(service.log) in first
    states: dict[str, list[str]] = {}
    for line in lines:
        if not line.startswith("Starting "):
            name, state = re.fullmatch(r"(\S+): ([a-z ]+) \(\d+ s\)(?:: .+)?", line).groups()  # type: ignore[union-attr]
            states.setdefault(name, []).append(state)
    assert {"pocket-chat", "pocket-speech"} <= set(states)
    assert {path[-1] for path in states.values()} == {"ready"}
    assert any("warming up" in path for path in states.values())  # a short one is over between two looks
    assert [line for line in banner.splitlines() if "Serve" in line or "INFO" in line] == []


def test_the_log_is_for_its_owner_only(service: Service) -> None:
    assert (service.log.stat().st_mode & 0o777, service.log.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def open_ports(service: Service) -> dict[int, str]:
    """The ports on which its processes wait for anybody, TCP or UDP, by the name of the process; none on loopback."""
    ports = {}
    for process in [psutil.Process(service.process.pid), *service.processes()]:
        for one in process.net_connections("inet"):
            address = ipaddress.ip_address(one.laddr.ip)
            mapped = getattr(address, "ipv4_mapped", None)
            waits = one.status == psutil.CONN_LISTEN or (one.status == psutil.CONN_NONE and not one.raddr)
            if waits and not (mapped or address).is_loopback:
                ports[one.laddr.port] = process.name()
    return ports


def test_no_port_is_open_to_other_machines(service: Service) -> None:
    assert open_ports(service) == {}


def test_malformed_requests_are_refused_and_others_are_served(service: Service, http: Any) -> None:
    answers = {name: send(service.port, request) for name, request in REQUESTS.items()}
    assert {name: answer for name, answer in answers.items() if not answer.is_refusal()} == {}
    assert http.get("/v1/models").status_code == 200
