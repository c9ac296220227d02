"""POST /v1/responses at the gateway: a stream that fails ends with `response.failed`, whenever it fails."""

import json
from typing import Any

import pytest

from contract.errors import upstream_error
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from contract.responses import NO_USAGE
from tests.openai_answers import RESPONSE_EVENT, check_shape

RESPONSES = "/v1/responses"
HEAD = ResponseHead(200, EVENT_STREAM)
TOOL = {"type": "function", "name": "weather", "description": None, "parameters": {"type": "object"}, "strict": True}


async def failed(client: Any, **changes: Any) -> tuple[list[str], dict[str, Any]]:
    """The types of the stream's events, and its last event."""
    request = {"model": "alpha", "input": "hi", "stream": True} | changes
    text = (await client.post(RESPONSES, json=request)).text
    events = [event for event in text.split("\n\n") if event]
    kinds = [event.partition("\n")[0].removeprefix("event: ") for event in events]
    return kinds, json.loads(events[-1].partition("\ndata: ")[2])


@pytest.mark.parametrize(
    "ending",
    [[], [upstream_error()], [ResponseTail(error=upstream_error().to_wire())]],
    ids=["no tail", "the replica is lost", "the engine reports it"],
)
async def test_a_replica_that_dies_before_its_first_event_gives_the_event_of_a_failed_response(
    client: Any, relay: Any, ending: list[Any]
) -> None:
    relay.items = [HEAD, *ending]
    requested = {
        "instructions": "Be short.", "temperature": 0.5, "max_output_tokens": 9, "tools": [TOOL],
        "tool_choice": "required", "metadata": {"order": "42"}, "text": {"format": {"type": "json_object"}},
    }  # fmt: skip
    kinds, event = await failed(client, **requested)
    assert kinds == ["response.failed"]
    assert (event["type"], event["sequence_number"]) == ("response.failed", 0)
    response = event["response"]
    check_shape(RESPONSE_EVENT, event)
    assert (response["status"], response["usage"]) == ("failed", NO_USAGE)
    assert response["error"] == {"code": "server_error", "message": upstream_error().message}
    assert {name: response[name] for name in requested} == requested
    assert (response["model"], response["output"], response["completed_at"]) == ("alpha", [], None)
    assert (response["top_p"], response["store"], response["service_tier"]) == (1.0, False, "default")
    assert response["safety_identifier"] is None
    assert "user" not in response


async def test_a_stream_that_breaks_later_ends_with_the_response_that_it_began_with(client: Any, relay: Any) -> None:
    began = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    opening = b"event: response.created\ndata: " + json.dumps({"response": began}).encode() + b"\n\n"
    relay.items = [HEAD, opening]
    kinds, event = await failed(client)
    assert kinds == ["response.created", "response.failed"]
    assert event["sequence_number"] == 1
    assert event["response"] == began | {
        "status": "failed",
        "error": {"code": "server_error", "message": upstream_error().message},
    }
