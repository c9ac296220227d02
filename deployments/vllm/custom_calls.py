"""Calls of custom tools in chat completions: vLLM 0.32 calls functions with one argument, or writes the input alone.

In a stream a call begins with its `id`, its `type` and its name, and its input follows in parts, as a function's
arguments do: `{"index": 0, "id": "…", "type": "custom", "custom": {"name": "…", "input": "…"}}`, then
`{"index": 0, "custom": {"input": "…"}}`. OpenAI documents no such delta, and its clients' accumulators take this one.
"""

import json
import re
from typing import Any

from contract.custom_tools import INPUT, CustomCalls

BEGINNING = re.compile(rf'\s*\{{\s*"{INPUT}"\s*:\s*"')
LONGEST_BEGINNING = 256
# Of a JSON string as far as it goes: characters, escapes, and pairs of them that are one character.
DECODABLE = re.compile(
    r'(?:[^"\\]+|\\[^u]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4}|(?=[^\\]|\\[^u])))*'
)


class InputText:
    """The text that a function's one argument is, decoded while its JSON comes."""

    def __init__(self) -> None:
        self._waiting = ""  # what cannot be decoded yet
        self._has_begun = False
        self._is_json = True

    def feed(self, piece: str) -> str:
        """What the next piece of the arguments adds to the text. Where they are of another form, they are the text."""
        if not self._is_json:
            return piece
        self._waiting += piece
        if not self._has_begun:
            beginning = BEGINNING.match(self._waiting)
            if beginning is None:
                if len(self._waiting) < LONGEST_BEGINNING:
                    return ""
                self._is_json = False
                return self.end()
            self._has_begun = True
            self._waiting = self._waiting[beginning.end() :]
        whole = DECODABLE.match(self._waiting)
        assert whole is not None  # noqa: S101 - it matches nothing as well
        self._waiting = self._waiting[whole.end() :]
        try:
            text: str = json.loads(f'"{whole[0]}"', strict=False)
        except json.JSONDecodeError:  # an escape that JSON lacks, of a model whose calls nothing guides
            return whole[0]
        return text.encode(errors="replace").decode()  # half of a pair is no character

    def end(self) -> str:
        """What the text lacks once the arguments have ended: what is of another form than this JSON."""
        has_closed = self._has_begun and self._waiting.startswith('"')
        rest, self._waiting = "" if has_closed else self._waiting, ""
        return rest


def mend_choice(choice: dict[str, Any], calls: CustomCalls, request_id: str) -> None:
    """Give a whole choice the calls of custom tools, in place."""
    message, is_cut = choice["message"], choice["finish_reason"] == "length"
    if calls.answer is not None:
        text = message["content"] or ""
        if text or not is_cut:
            call = {"id": _id(request_id, choice), "type": "custom", "custom": {"name": calls.answer, "input": text}}
            message |= {"content": None, "tool_calls": [call]}
    for call in message.get("tool_calls", ()):
        if call.get("function", {}).get("name") in calls.functions:
            function, text = call.pop("function"), InputText()
            read = text.feed(function["arguments"])
            custom = {"name": function["name"], "input": read if is_cut else read + text.end()}
            call |= {"type": "custom", "custom": custom}


class CallDeltas:
    """Turns what the chunks of one stream add to each choice into calls of custom tools."""

    def __init__(self, calls: CustomCalls, request_id: str) -> None:
        self._calls = calls
        self._request_id = request_id
        self._answered: set[int] = set()  # the choices whose call has begun
        self._inputs: dict[int, dict[int, InputText]] = {}  # by the choice and the call

    def mend(self, choice: dict[str, Any]) -> None:
        delta, reason = choice["delta"], choice.get("finish_reason")
        if self._calls.answer is not None:
            self._make_call(choice, delta, is_whole=reason is not None and reason != "length")
            return
        inputs = self._inputs.setdefault(choice["index"], {})
        for call in delta.get("tool_calls", ()):
            self._mend_call(call, inputs)
        if reason is not None and reason != "length":
            rest = [{"index": index, "custom": {"input": end}} for index, text in inputs.items() if (end := text.end())]
            if rest:
                delta["tool_calls"] = [*delta.get("tool_calls", ()), *rest]

    def _make_call(self, choice: dict[str, Any], delta: dict[str, Any], is_whole: bool) -> None:
        """Of a choice whose text is the input."""
        text = delta.pop("content", None) or ""
        if "role" in delta:
            delta["content"] = None
        begins = choice["index"] not in self._answered and (text or is_whole)
        if begins:
            self._answered.add(choice["index"])
            head = {"id": _id(self._request_id, choice), "type": "custom"}
            delta["tool_calls"] = [{"index": 0, **head, "custom": {"name": self._calls.answer, "input": text}}]
        elif text:
            delta["tool_calls"] = [{"index": 0, "custom": {"input": text}}]

    def _mend_call(self, call: dict[str, Any], inputs: dict[int, InputText]) -> None:
        function = call.get("function", {})
        begins = function.get("name") in self._calls.functions
        if begins:
            inputs[call["index"]] = InputText()
            call["type"] = "custom"
        if call["index"] in inputs:
            arguments = call.pop("function")["arguments"]
            name = {"name": function["name"]} if begins else {}
            call["custom"] = name | {"input": inputs[call["index"]].feed(arguments)}


def _id(request_id: str, choice: dict[str, Any]) -> str:
    """Of the one call of a choice."""
    return f"call_{request_id.replace('-', '')}{choice['index']}"
