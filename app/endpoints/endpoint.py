"""The routes that models answer: what is particular to each."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from app.config.service import Limits
from app.endpoints import chat, embeddings, images, responses, speech, transcriptions
from app.endpoints import responses_parameters as response_parameters
from app.endpoints.routes import CHAT, EMBEDDINGS, IMAGES, RESPONSES, SPEECH, TRANSCRIPTIONS, Route
from app.http.body import Receive, read_json
from app.parameters import messages
from app.parameters.parts import ImageSlot
from contract.errors import ApiError
from contract.profile import Profile


@dataclass(frozen=True, slots=True)
class Generation:
    """One such route."""

    route: Route
    engine_body: Callable[[dict[str, Any], str], bytes]  # (legal request, model id) -> the engine's body
    failure_event: Callable[[ApiError, bytes, int], bytes]  # (error, first piece, events so far) -> the last event
    images: Callable[[dict[str, Any]], Iterator[ImageSlot]] = lambda _: iter(())  # where a legal request has images
    echoed: tuple[str, ...] = ()  # accepted parameters that the answer repeats
    characters: Callable[[dict[str, Any]], int] | None = None  # of a legal request, where they are what is counted
    makes_text: bool = True  # so that its answer costs tokens, as many as it may
    # (request, profile) -> tokens that an answer which is no text counts as
    answer_tokens: Callable[[dict[str, Any], Profile], int] = lambda _, __: 0
    # (receive, headers, limits) -> the request in the body, not yet checked
    read: Callable[[Receive, dict[str, str], Limits], Awaitable[dict[str, Any]]] = read_json


GENERATIONS = (
    Generation(CHAT, chat.engine_body, chat.failure_event, messages.images, echoed=("metadata",)),
    Generation(
        RESPONSES,
        responses.engine_body,
        responses.failure_event,
        response_parameters.images,
        echoed=("metadata", "safety_identifier", "prompt_cache_key"),
    ),
    Generation(EMBEDDINGS, embeddings.engine_body, chat.failure_event, makes_text=False),
    Generation(IMAGES, images.engine_body, images.failure_event, makes_text=False, answer_tokens=images.answer_tokens),
    Generation(
        TRANSCRIPTIONS,
        transcriptions.engine_body,
        transcriptions.failure_event,
        makes_text=False,
        read=transcriptions.read,
    ),
    Generation(SPEECH, speech.engine_body, speech.failure_event, makes_text=False, characters=speech.characters),
)
