"""A conversation with a chat model: each answer as it comes."""

import time
from collections.abc import Iterator
from typing import Any

import orjson

from app.commands.models import models_of
from app.commands.service_client import Refused, ServiceClient, refused
from app.parameters.adjustments import HEADER as ADJUSTMENTS
from contract.fields import ConfigError

DATA, DONE = "data: ", "[DONE]"
LEAST_SECONDS = 0.05  # of an answer, for a rate that means something


class Conversation:
    """What was said so far, and what the service said of its last answer."""

    def __init__(self, client: ServiceClient, model: str, system: str | None, options: dict[str, Any]) -> None:
        self._client, self.model, self._options = client, model, options
        self.messages = [{"role": "system", "content": system}] if system else []
        self.about = ""  # of the last answer

    def ask(self, text: str) -> Iterator[str]:
        """The answer, piece by piece. Raises Refused, NoService; then the question is as if it was not asked."""
        messages = [*self.messages, {"role": "user", "content": text}]
        body = {"model": self.model, "messages": messages, "stream": True} | self._options
        body["stream_options"] = {"include_usage": True}
        begun, first, answer = time.monotonic(), 0.0, ""
        usage: dict[str, Any] = {}
        with (
            self._client.answering(),
            self._client.http.stream("POST", self._client.url("/v1/chat/completions"), json=body) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise refused(response)
            for event in _events(response.iter_lines()):
                usage = event.get("usage") or usage
                piece = "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))
                if piece:
                    first = first or time.monotonic() - begun
                    answer += piece
                    yield piece
            headers = response.headers
        self.messages = [*messages, {"role": "assistant", "content": answer}]
        self.about = _about(headers, usage, first, time.monotonic() - begun)


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream. Raises Refused where one is an error, or where the stream breaks off."""
    for line in lines:
        if not line.startswith(DATA):
            continue
        text = line.removeprefix(DATA)
        if text == DONE:
            return
        event: dict[str, Any] = orjson.loads(text)
        if "error" in event:
            raise Refused(200, str(event["error"].get("message")))
        yield event
    raise Refused(200, "The answer broke off.")


def _about(headers: Any, usage: dict[str, Any], first_s: float, all_s: float) -> str:
    tokens = int(usage.get("completion_tokens", 0))
    rate = (
        f", {(tokens - 1) / (all_s - first_s):.0f} tokens/s" if tokens > 1 and all_s - first_s > LEAST_SECONDS else ""
    )
    parts = [f"{tokens} tokens", f"first after {1000 * first_s:.0f} ms{rate}"]
    if changed := headers.get(ADJUSTMENTS):
        parts.append(f"changed: {changed}")
    return f"[{', '.join(parts)}; request {headers.get('x-request-id', '?')}]"


def the_chat_model(client: ServiceClient, wanted: str | None) -> str:
    """The model that is wanted, else the first that chats. Raises ConfigError, Refused, NoService."""
    if wanted is not None:
        return wanted
    able = [model.id for model in models_of(client) if "chat" in model.capabilities]
    if not able:
        raise ConfigError(f"{client.base_url} has no model that chats and that this key may use")
    return able[0]
