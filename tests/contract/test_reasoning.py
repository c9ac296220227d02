"""A model that reasons before it answers: its reasoning is separate from its answer, whole and streamed.

The bias makes the end of the reasoning likelier than random weights make it.
"""

import json
from typing import Any

import httpx
import pytest

from tests.contract.conftest import VISION_MODEL
from tests.contract.test_responses import events_of
from tests.contract.weather import SCHEMA, assert_fits

END_OF_THINKING = {"383": 3.0, "3": -100}
SETTINGS = {"model": VISION_MODEL, "temperature": 1, "seed": 11, "logit_bias": END_OF_THINKING}
CHAT = SETTINGS | {
    "messages": [{"role": "user", "content": "Think, then answer."}],
    "max_tokens": 1500,
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
}
RESPONSES = SETTINGS | {
    "input": "Think, then answer.",
    "max_output_tokens": 1500,
    "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}},
}


def test_chat_has_the_reasoning_beside_the_answer(http: httpx.Client) -> None:
    (choice,) = http.post("/v1/chat/completions", json=CHAT).json()["choices"]
    assert choice["message"]["reasoning"]
    assert "</think>" not in choice["message"]["reasoning"] + choice["message"]["content"]
    assert_fits(json.loads(choice["message"]["content"]))
    assert choice["finish_reason"] == "stop"


def test_a_chat_stream_has_first_reasoning_then_the_answer(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json=CHAT | {"stream": True})
    *blocks, done, _ = response.text.split("\n\n")
    assert done == "data: [DONE]"
    deltas = [json.loads(block.removeprefix("data: "))["choices"][0]["delta"] for block in blocks]
    kinds = [kind for delta in deltas for kind in ("reasoning", "content") if delta.get(kind)]
    assert kinds == sorted(kinds, reverse=True), "reasoning after the answer began"
    assert kinds[0] == "reasoning"
    assert all(delta.get("reasoning", "") is not None for delta in deltas)
    assert_fits(json.loads("".join(delta.get("content") or "" for delta in deltas)))


def test_a_response_has_a_reasoning_item_before_its_message(client: Any) -> None:
    response = client.responses.create(**{k: v for k, v in RESPONSES.items() if k not in ("logit_bias", "seed")},
                                       extra_body={"logit_bias": END_OF_THINKING, "seed": 11})  # fmt: skip
    assert [item.type for item in response.output] == ["reasoning", "message"]
    reasoning, message = response.output
    assert reasoning.content[0].type == "reasoning_text"
    assert reasoning.content[0].text
    assert reasoning.summary == []
    assert message.content[0].text == response.output_text
    assert_fits(json.loads(response.output_text))


def test_a_response_stream_has_the_events_of_both_items(http: httpx.Client) -> None:
    events = events_of(http.post("/v1/responses", json=RESPONSES | {"stream": True}))
    kinds = [event["type"].removeprefix("response.") for event in events]
    order = list(dict.fromkeys(kinds))
    assert order == [
        "created", "in_progress", "output_item.added", "content_part.added", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done", "output_text.delta", "output_text.done",
        "completed",
    ]  # fmt: skip
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [item["type"] for item in done] == ["reasoning", "message"]
    for index, kind in enumerate(("reasoning_text", "output_text")):
        deltas = [e["delta"] for e in events if e["type"] == f"response.{kind}.delta"]
        assert "".join(deltas) == done[index]["content"][0]["text"]
    assert events[-1]["response"]["output"] == done


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_without_an_end_is_cut_by_length(http: httpx.Client, stream: bool) -> None:
    body = CHAT | {"max_tokens": 6, "logit_bias": {"383": -100, "3": -100}, "stream": stream}
    response = http.post("/v1/chat/completions", json=body)
    assert '"finish_reason":"length"' in response.text
    assert '"reasoning":"' in response.text


def test_a_conversation_goes_on_after_reasoning(http: httpx.Client) -> None:
    """Clients send the reasoning item back as it came."""
    first = http.post("/v1/responses", json=RESPONSES).json()
    again = [{"role": "user", "content": "Think, then answer."}, *first["output"], {"role": "user", "content": "More."}]
    second = http.post("/v1/responses", json=RESPONSES | {"input": again})
    assert second.status_code == 200, second.text
    assert second.json()["usage"]["input_tokens"] > first["usage"]["input_tokens"]
