"""What `make serve` shows a newcomer."""

import json
import shlex
import subprocess
from typing import Any

from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service


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
    config = service.log.with_name("local.yaml")
    command: list[Any] = [PROJECT_FOLDER / ".venv/bin/python", "-m", "app", "serve", config]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_FOLDER, timeout=60, check=False)
    assert result.returncode == 2
    assert f"127.0.0.1:{service.port} cannot be served" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_log_has_a_line_per_request_and_no_key(service: Service) -> None:
    lines = [line for line in service.output.splitlines() if '"request_id"' in line]
    entry = json.loads(lines[-1][lines[-1].index("{") :])
    assert {"time", "request_id", "key", "route", "model", "status", "reason", "duration_ms"} <= set(entry)
    logs = service.output.split("Portico is ready.")[1].split("Ctrl-C stops it.")[1]
    assert "0" * 43 not in logs
