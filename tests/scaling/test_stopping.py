"""Ctrl-C ends a service and all that it started: within ten seconds, and once requests under way have their answers."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
import yaml

from app.commands.foreground import DRAIN_SECONDS
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import START_SECONDS, STOP_SECONDS, Service, begun, entry_of, launched

LONG_STEPS = 1500  # of an image of 64 x 64: some seconds
TOO_MANY_STEPS = 24_000  # more than a minute


@pytest.fixture
def content() -> dict[str, Any]:
    """The tests' image model and a voice."""
    content: dict[str, Any] = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "tiny.yaml").read_text())
    args = content["applications"][0]["args"]
    args["models"] = [entry_of(args["models"], name) for name in ("pocket-image", "pocket-speech")]
    args["models"][0]["engine_kwargs"]["quality"] |= {"high": LONG_STEPS, "medium": TOO_MANY_STEPS}
    return content


@pytest.fixture
def own(content: dict[str, Any], tmp_path: Path) -> Iterator[Service]:
    with launched(content, tmp_path, tmp_path / "keys.json") as running:
        yield running


def paint(own: Service, answers: list[httpx.Response]) -> None:
    body = {"model": "pocket-image", "prompt": "a boat", "quality": "high", "size": "64x64"}
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    answers.append(httpx.post(f"{own.base_url}/images/generations", json=body, headers=headers, timeout=120))


@pytest.mark.long  # the services that tests share show it, too
def test_without_a_request_it_ends_within_ten_seconds(own: Service) -> None:
    began = time.monotonic()
    assert own.stop() == []
    assert time.monotonic() - began < 10


def test_a_request_under_way_has_its_answer_first_and_no_other_is_taken(own: Service) -> None:
    answers: list[Any] = []
    client = threading.Thread(target=paint, args=(own, answers))
    client.start()
    time.sleep(1)
    assert answers == []  # it is in the engine
    started = own.processes()
    own.process.send_signal(signal.SIGINT)
    time.sleep(1.5)  # HAProxy knows
    assert answers == []
    assert httpx.get(f"http://127.0.0.1:{own.port}/v1/models", timeout=5).status_code == 503
    client.join(DRAIN_SECONDS)
    assert [answer.status_code for answer in answers] == [200]
    assert own.process.wait(STOP_SECONDS) == 0
    assert psutil.wait_procs(started, timeout=1)[1] == []


@pytest.mark.long
def test_a_stream_that_takes_too_long_ends_in_an_error_before_the_service_ends(own: Service) -> None:
    """Whatever its drain time: that is for updates of a service that goes on."""
    body: dict[str, Any] = {"model": "pocket-image", "prompt": "a boat", "quality": "medium", "size": "64x64"}
    body |= {"stream": True, "partial_images": 3}
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    url = f"{own.base_url}/images/generations"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=120) as answer:
        lines = (line for line in answer.iter_lines() if line and not line.startswith(":"))
        assert next(lines) == "event: image_generation.partial_image"
        own.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        *_, kind, data = lines
    assert DRAIN_SECONDS / 2 < time.monotonic() - began < DRAIN_SECONDS
    assert (kind, orjson.loads(data.removeprefix("data: "))["error"]["code"]) == ("event: error", "upstream_error")
    assert own.process.wait(STOP_SECONDS) == 0


@pytest.mark.parametrize("printed", ["Starting Ray", pytest.param("pocket-image: loading", marks=pytest.mark.long)])
def test_while_it_starts_it_ends_within_ten_seconds_too(content: dict[str, Any], tmp_path: Path, printed: str) -> None:
    with begun(content, tmp_path, tmp_path / "keys.json") as starting:
        starting.wait_printed(printed, START_SECONDS)
        time.sleep(1)
        began = time.monotonic()
        assert starting.stop() == []
        assert time.monotonic() - began < 10
