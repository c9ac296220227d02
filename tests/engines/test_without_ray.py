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
from tests.recordings import encoded, voice

# Runs the cells of a notebook, which may await.
RUN_CELLS = """
import ast, asyncio, inspect, json, sys
names = {}
async def run():
    for cell in json.load(open(sys.argv[1]))["cells"]:
        if cell["cell_type"] == "code":
            code = compile("".join(cell["source"]), "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            done = eval(code, names)
            if inspect.iscoroutine(done):
                await done
asyncio.run(run())
import ray
assert not ray.is_initialized()
print(names["head"].content_type, names["refused"].status, len(names["first"]))
"""
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


def test_the_notebook_runs_from_top_to_bottom() -> None:
    folder = PROJECT_FOLDER / "notebooks"
    result = subprocess.run(
        [sys.executable, "-c", RUN_CELLS, "engine.ipynb"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split() == ["audio/wav", "400", "64"]
