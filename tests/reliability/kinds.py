"""What the steady load consists of: of each task what its models are used for, at a rate that two cores serve."""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from contract.protocol import CHAT_ROUTE, RESPONSES_ROUTE, SPEECH_ROUTE
from tests.recordings import encoded, voice
from tests.reliability.outcomes import Outcome, of_chat_stream, of_response_stream, of_speech_stream

CHAT, EMBED, SPEECH, WHISPER, IMAGE = "pocket-chat", "pocket-embed", "pocket-speech", "pocket-whisper", "pocket-image"
MESSAGES = [{"role": "user", "content": "Which of the foxes is quick?"}]
GOES_ON = {"logit_bias": {"3": -100}}  # never the token that ends an answer
RECORDING = encoded(voice(1), "wav")


class Kind(NamedTuple):
    """One kind of request."""

    name: str
    path: str
    per_second: float
    body: dict[str, Any]
    stream: Callable[[list[bytes]], Outcome] | None = None  # says how a stream of events ended
    is_whole: Callable[[bytes], bool] = lambda _: True  # of a whole answer
    file: bytes | None = None  # then `body` are the fields of a form


def _has(key: str) -> Callable[[bytes], bool]:
    """Whether an answer is JSON with something under `key`."""

    def is_whole(body: bytes) -> bool:
        try:
            return bool(orjson.loads(body).get(key))
        except (orjson.JSONDecodeError, AttributeError):
            return False

    return is_whole


def _is_transcript(body: bytes) -> bool:
    try:
        return "text" in orjson.loads(body)  # random weights may hear nothing
    except (orjson.JSONDecodeError, TypeError):
        return False


def _is_wav(body: bytes) -> bool:
    return body.startswith(b"RIFF") and len(body) > 1000


KINDS = (
    Kind(  # so that at every moment one is under way, also where a machine is fast
        "long-stream", CHAT_ROUTE, 0.2,
        {"model": CHAT, "messages": MESSAGES, "max_tokens": 1900, "stream": True, **GOES_ON}, of_chat_stream,
    ),
    Kind(
        "chat-stream", CHAT_ROUTE, 0.7,
        {"model": CHAT, "messages": MESSAGES, "max_tokens": 300, "stream": True, **GOES_ON}, of_chat_stream,
    ),
    Kind(
        "chat", CHAT_ROUTE, 0.7, {"model": CHAT, "messages": MESSAGES, "max_tokens": 16}, is_whole=_has("choices")
    ),
    Kind(
        "responses", RESPONSES_ROUTE, 0.4,
        {"model": CHAT, "input": "Go on.", "max_output_tokens": 64, "stream": True, **GOES_ON}, of_response_stream,
    ),
    Kind("embeddings", "/v1/embeddings", 1.0, {"model": EMBED, "input": ["a fox", "a gateway"]}, is_whole=_has("data")),
    Kind(
        "speech", SPEECH_ROUTE, 0.3, {"model": SPEECH, "input": "Hello there.", "response_format": "wav"},
        is_whole=_is_wav,
    ),
    Kind(
        "speech-stream", SPEECH_ROUTE, 0.3,
        {"model": SPEECH, "input": "Hello there. How are you?", "response_format": "pcm", "stream_format": "sse"},
        of_speech_stream,
    ),
    Kind(
        "transcription", "/v1/audio/transcriptions", 0.3, {"model": WHISPER}, is_whole=_is_transcript, file=RECORDING
    ),
    Kind(
        "image", "/v1/images/generations", 0.1,
        {"model": IMAGE, "prompt": "a fox", "size": "64x64", "quality": "low", "response_format": "url"},
        is_whole=_has("data"),
    ),
)  # fmt: skip
