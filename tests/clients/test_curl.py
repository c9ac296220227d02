"""curl, as people paste it into a shell: chat, a stream, a tool's round trip, an object of a schema."""

import json
import subprocess
from typing import Any

from app.keys import LOCAL_KEY
from tests.conftest import Service
from tests.contract.weather import SCHEMA, assert_fits

QUESTION = {"role": "user", "content": "How is the weather?"}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}


def curl(service: Service, **body: Any) -> str:
    """What curl prints for a chat request."""
    command = [
        "curl", "-sS", "-N", "--fail-with-body", f"{service.base_url}/chat/completions",
        "-H", f"Authorization: Bearer {LOCAL_KEY}", "-d", json.dumps({"model": "pocket-chat", "seed": 1} | body),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_chat(service: Service) -> None:
    answer = json.loads(curl(service, messages=[QUESTION], max_tokens=8))
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["usage"]["completion_tokens"] <= 8


def test_a_stream(service: Service) -> None:
    *events, done, rest = curl(service, messages=[QUESTION], max_tokens=8, stream=True).split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert all(event.startswith('data: {"id":"chatcmpl-') for event in events)


def test_a_tool_s_round_trip(service: Service) -> None:
    settings = {"tools": [TOOL], "max_tokens": 400}
    first = curl(service, messages=[QUESTION], tool_choice="required", parallel_tool_calls=False, **settings)
    message = json.loads(first)["choices"][0]["message"]
    (call,) = message["tool_calls"]
    assert_fits(json.loads(call["function"]["arguments"]))
    result = {"role": "tool", "tool_call_id": call["id"], "content": "grey"}
    answer = json.loads(curl(service, messages=[QUESTION, message, result], **settings | {"max_tokens": 8}))
    assert answer["choices"][0]["message"]["role"] == "assistant"


def test_an_object_of_a_schema(service: Service) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}
    answer = json.loads(curl(service, messages=[QUESTION], response_format=shape, max_tokens=64))
    assert_fits(json.loads(answer["choices"][0]["message"]["content"]))
