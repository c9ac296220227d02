"""The routes that a language model answers: what is particular to each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app import chat, responses
from app.errors import ApiError
from app.routes import CHAT, RESPONSES, Route


@dataclass(frozen=True, slots=True)
class Generation:
    """One such route."""

    route: Route
    engine_body: Callable[[dict[str, Any], str], bytes]  # (legal request, model id) -> the engine's body
    failure_event: Callable[[ApiError, bytes, int], bytes]  # (error, first piece, events so far) -> the last event
    echoed: tuple[str, ...]  # accepted parameters that the answer repeats


GENERATIONS = (
    Generation(CHAT, chat.engine_body, chat.failure_event, ("metadata",)),
    Generation(
        RESPONSES,
        responses.engine_body,
        responses.failure_event,
        ("metadata", "safety_identifier", "prompt_cache_key"),
    ),
)
