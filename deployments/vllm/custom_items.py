"""The call of a custom tool in a response, where vLLM 0.32 writes its input alone, as a message."""

from typing import Any

from contract.protocol import RequestHead

DELTAS = {"response.output_text.delta": "delta", "response.output_text.done": "text"}
PARTS = ("response.content_part.added", "response.content_part.done")


class CallItems:
    """Turns the messages of one response into the call, where the request has it so."""

    def __init__(self, request: RequestHead) -> None:
        self._name = request.custom_calls and request.custom_calls.answer
        self._call_id = f"call_{request.request_id.replace('-', '')}"
        self._sent = 0  # events

    def mend(self, items: list[dict[str, Any]]) -> None:
        """Mend the items of a whole response, in place."""
        if self._name is not None:
            items[:] = map(self._call, items)

    def turn(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """An event of the stream; None where the call has no such."""
        kind = event.get("type")
        if self._name is None or kind is None:
            return event
        if kind in PARTS:
            return None
        if "response" in event:
            self.mend(event["response"]["output"])
        if "item" in event:
            event["item"] = self._call(event["item"])
        if kind in DELTAS:
            field = DELTAS[kind]
            place = {name: event[name] for name in ("item_id", "output_index")}
            ending, named = ("done", "input") if field == "text" else ("delta", "delta")
            event = {"type": f"response.custom_tool_call_input.{ending}", **place, named: event[field]}
        event["sequence_number"], self._sent = self._sent, self._sent + 1
        return event

    def _call(self, item: dict[str, Any]) -> dict[str, Any]:
        """The call that stands for a message; any other item as it is."""
        if item["type"] != "message":
            return item
        text = "".join(part.get("text", "") for part in item.get("content") or ())
        call = {"type": "custom_tool_call", "id": item["id"], "call_id": self._call_id, "name": self._name}
        return call | {"input": text, "status": item.get("status") or "completed"}
