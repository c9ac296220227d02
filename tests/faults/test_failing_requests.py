"""A request that its replica does not survive, or that the engine never ends, on real Ray: how far the harm goes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.keys import LOCAL_KEY, hash_key, public_id
from contract.project import PROJECT_FOLDER
from tests.conftest import wait_ready
from tests.own_ports import free_port

START_SECONDS = 120
JOURNAL = "journal"
REPLICAS = 3
STALL_S, IDLE_S = 2.0, 4.0


class MortalModel:
    """The service, and what its engines have gone through."""

    def __init__(self, client: httpx.Client, folder: Path) -> None:
        self.client = client
        self._folder = folder

    def ask(self, prompt: str, **changes: Any) -> httpx.Response:
        body = {"model": "alpha", "messages": [{"role": "user", "content": prompt}]} | changes
        return self.client.post("/v1/chat/completions", json=body)

    def times(self, word: str) -> int:
        return self._words().count(word)

    def replicas(self) -> set[int]:
        """The processes of those that are ready and alive."""
        ready = {int(word.split()[1]) for word in self._words() if word.startswith("ready ")}
        return set(filter(psutil.pid_exists, ready))

    def _words(self) -> list[str]:
        return (self._folder / JOURNAL).read_text().splitlines()

    def state(self) -> str:
        """What the engines and Serve have written, for the report of a test that failed."""
        log = "".join(path.read_text() for path in self._folder.rglob("serve/controller_*.log"))
        return f"alive: {self.replicas()}\n{self._words()}\n{log[-6000:]}"


@pytest.fixture
def model(served: MortalModel) -> MortalModel:
    """The service with all its replicas, whatever the test before did to them."""
    try:
        wait_until(lambda: len(served.replicas()) == REPLICAS, START_SECONDS)
    except AssertionError:
        pytest.fail(f"there are not {REPLICAS} replicas again; {served.state()}")
    return served


@pytest.fixture(scope="module")
def served() -> Iterator[MortalModel]:
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="portico-"))  # short: Ray puts sockets there, whose paths are bounded
    journal = folder / JOURNAL
    journal.touch()
    entry = {
        "id": "alpha", "task": "chat", "engine": "vllm", "source": "./alpha", "resources": {"num_cpus": 0.1},
        "engine_kwargs": {"journal": str(journal)}, "engine_stall_timeout_s": STALL_S,
        "scaling": {"min_replicas": REPLICAS, "max_replicas": REPLICAS},
    }  # fmt: skip
    config = {
        "models": [entry],
        "keys": [{"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "budget": {"concurrent_requests": 1}}],
        "limits": {"stream_idle_timeout_s": IDLE_S, "ping_interval_s": 0.3},
    }
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "tests.faults.mortal_model", str(port), json.dumps(config)]
        process = psutil.Popen(
            command, cwd=PROJECT_FOLDER, stdout=log, stderr=subprocess.STDOUT,
            env=environment | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder)},
        )  # fmt: skip
    try:
        wait_ready(port, process, folder / "log", START_SECONDS)
        headers = {"authorization": f"Bearer {LOCAL_KEY}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
            yield MortalModel(client, folder)
    finally:
        if process.is_running():
            for started in [*process.children(recursive=True), process]:
                started.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("prompt", ["die", "die later"])
def test_a_request_that_kills_replicas_kills_two_and_no_third(model: MortalModel, prompt: str) -> None:
    response = model.ask(prompt)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")
    time.sleep(1)  # for what might come after the answer
    assert model.times(prompt) == 2
    assert model.ask("hi").status_code == 200


def test_a_stream_that_falls_silent_ends_and_its_work_is_cancelled(model: MortalModel) -> None:
    assert last_error(model.ask("fall silent", stream=True)) == "timeout"
    wait_until(lambda: model.times("cancelled") == 1)
    assert model.ask("hi").status_code == 200


def test_a_stream_of_an_engine_that_hangs_ends_with_its_replica(model: MortalModel) -> None:
    assert last_error(model.ask("hang", stream=True)) == "upstream_error"
    assert model.ask("hi").status_code == 200


def test_a_request_without_a_byte_from_an_engine_that_hangs_is_answered_by_another(model: MortalModel) -> None:
    assert model.ask("hang at first").status_code == 200
    assert model.times("hang at first") == 2


def test_an_engine_that_fails_and_then_hangs_in_its_trial_is_replaced(model: MortalModel) -> None:
    before = model.replicas()
    assert model.ask("break").status_code == 502
    wait_until(lambda: len(before & model.replicas()) == REPLICAS - 1)
    assert model.ask("hi").status_code == 200


def last_error(response: httpx.Response) -> str:
    assert response.status_code == 200
    *events, last = [event for event in response.text.split("\n\n") if event]
    assert "data: [DONE]" not in events
    return str(json.loads(last.removeprefix("data: "))["error"]["code"])


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
