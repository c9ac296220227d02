"""One engine of each family, started and asked without Ray."""

import base64
import json
import os
import subprocess
import sys
from typing import Any

import orjson
import pytest

from app.config.service import read_serve_config
from contract.project import PROJECT_FOLDER
from contract.protocol import (
    CHAT_ROUTE,
    EMBEDDINGS_ROUTE,
    IMAGES_ROUTE,
    SPEECH_ROUTE,
    TRANSCRIPTIONS_ROUTE,
    join,
)
from tests import notebooks
from tests.recordings import encoded, voice

NO_RAY = "import ray; assert not ray.is_initialized()"
CHAT = {"model": "pocket-chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
REQUESTS: dict[str, tuple[str, bytes]] = {
    "pocket-chat": (CHAT_ROUTE, orjson.dumps(CHAT)),
    "pocket-embed": (EMBEDDINGS_ROUTE, orjson.dumps({"input": "the fox"})),
    "pocket-image": (IMAGES_ROUTE, orjson.dumps({"prompt": "a boat"})),
    "pocket-whisper": (TRANSCRIPTIONS_ROUTE, join(b"{}", encoded(voice(3), "flac"))),
    "pocket-speech": (SPEECH_ROUTE, orjson.dumps({"input": "Hello there."})),
}


@pytest.mark.parametrize("model", REQUESTS)
def test_an_engine_answers_and_no_ray_runs(model: str) -> None:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "tiny.yaml")
    (entry,) = [one for one in config.models if one.id == model]
    route, body = REQUESTS[model]
    given: dict[str, Any] = {
        "engine": entry.engine,
        "task": entry.task,
        "source": entry.location(),
        "engine_kwargs": entry.engine_kwargs,
        "route": route,
        "body": base64.b64encode(body).decode(),
    }
    result = subprocess.run(
        [sys.executable, "-m", "tests.engines.answer_without_ray"],
        input=json.dumps(given),
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | entry.environment(),
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.rstrip().rpartition("\n")[2])
    assert (found["status"], found["error"]) == (200, None)
    assert found["bytes"] > 0
    assert found["usage"]
    assert (found["ray_is_initialized"], found["ray"]) == (False, [])


def test_the_notebook_of_an_engine_plays_what_it_said_and_shows_an_error() -> None:
    notebook = notebooks.run("engine_without_ray", NO_RAY)
    (player,) = notebooks.shown(notebook, notebooks.AUDIO)
    assert "<audio" in player
    assert "audio/wav" in notebooks.printed(notebook)
    assert any(result.startswith("(400, ") for result in notebooks.shown(notebook, "text/plain"))


@pytest.mark.long
def test_the_notebook_of_speculation_plots_drafts_that_are_accepted() -> None:
    notebook = notebooks.run("speculation", NO_RAY)
    assert len(notebooks.shown(notebook, notebooks.PLOT)) == 2
    assert notebooks.printed(notebook).count("the same text: True") == 4
    assert "0.2: array" in notebooks.shown(notebook, "text/plain")[-2]
