"""The routes of the contract as data, and which of them a path means."""

from dataclasses import dataclass
from difflib import get_close_matches

from app.endpoints.tables import TABLES
from app.parameters.row import Table
from contract.errors import ApiError
from contract.protocol import (
    CHAT_ROUTE,
    EMBEDDINGS_ROUTE,
    IMAGES_ROUTE,
    RESPONSES_ROUTE,
    SPEECH_ROUTE,
    TRANSCRIPTIONS_ROUTE,
)

API_PREFIX = "/v1/"


@dataclass(frozen=True, slots=True)
class Route:
    """One route. `path` is what the documentation and the metrics call it; {id} stands for a model's id."""

    method: str
    path: str
    summary: str
    answer: str
    media_types: tuple[str, ...] = ("application/json",)
    needs_key: bool = True
    is_probe: bool = False  # asked by machines every few seconds, so not worth a line in the access log
    takes: str = "application/json"  # the media type of the request


CHAT = Route(
    "POST",
    CHAT_ROUTE,
    "Answer a conversation",
    "OpenAI's ChatCompletion, or its chunks as server-sent events.",
    ("application/json", "text/event-stream"),
)
RESPONSES = Route(
    "POST",
    RESPONSES_ROUTE,
    "Make a response",
    "OpenAI's Response, or its events as server-sent events.",
    ("application/json", "text/event-stream"),
)
EMBEDDINGS = Route("POST", EMBEDDINGS_ROUTE, "Make vectors of texts", "OpenAI's list of embeddings.")
IMAGES = Route(
    "POST",
    IMAGES_ROUTE,
    "Make images of a text",
    "OpenAI's ImagesResponse, or its events as server-sent events.",
    ("application/json", "text/event-stream"),
)
KEPT_IMAGE = Route(
    "GET",
    "/images/{name}",
    "Show an image that was asked for by URL",
    "The image. The URL holds a signature and an end.",
    ("image/png", "image/jpeg", "image/webp"),
    needs_key=False,
)
TRANSCRIPTIONS = Route(
    "POST",
    TRANSCRIPTIONS_ROUTE,
    "Write down what a recording says",
    "OpenAI's Transcription or TranscriptionVerbose, a text, subtitles, or events as server-sent events.",
    ("application/json", "text/plain", "application/x-subrip", "text/vtt", "text/event-stream"),
    takes="multipart/form-data",
)
SPEECH = Route(
    "POST",
    SPEECH_ROUTE,
    "Say a text",
    "The sound, as it is made, or events with it.",
    ("audio/mpeg", "audio/opus", "audio/aac", "audio/flac", "audio/wav", "audio/pcm", "text/event-stream"),
)
MODEL_LIST = Route("GET", "/v1/models", "List the models that are up and that the key may use", "A list of Models.")
MODEL_CARD = Route("GET", "/v1/models/{id}", "Show a model and what it can do", "OpenAI's Model, with `portico`.")
HEALTH = Route("GET", "/health", "Say that the service is alive", "It is.", needs_key=False, is_probe=True)
READY = Route("GET", "/ready", "Say whether every model is up", "They all are.", needs_key=False, is_probe=True)
METRICS = Route(
    "GET", "/metrics", "Show the metrics", "Prometheus' text format.", ("text/plain",), needs_key=False, is_probe=True
)
OPENAPI = Route("GET", "/openapi.json", "Describe the routes", "An OpenAPI document.", needs_key=False, is_probe=True)

ALL = (
    CHAT,
    RESPONSES,
    EMBEDDINGS,
    IMAGES,
    KEPT_IMAGE,
    TRANSCRIPTIONS,
    SPEECH,
    MODEL_LIST,
    MODEL_CARD,
    HEALTH,
    READY,
    METRICS,
    OPENAPI,
)
TABLES_BY_ROUTE: dict[Route, Table] = {
    CHAT: TABLES["chat"],
    RESPONSES: TABLES["responses"],
    EMBEDDINGS: TABLES["embeddings"],
    IMAGES: TABLES["images"],
    TRANSCRIPTIONS: TABLES["transcriptions"],
    SPEECH: TABLES["speech"],
}
FIXED = {route.path: route for route in ALL if route not in (MODEL_CARD, KEPT_IMAGE)}
KEPT_IMAGE_PREFIX = KEPT_IMAGE.path.removesuffix("{name}")
UNKNOWN = "unknown"  # the metrics' name for every path that is no route


@dataclass(frozen=True, slots=True)
class Match:
    """A path that is a route, with what it names."""

    route: Route
    pipeline: str | None = None
    model_id: str | None = None
    name: str | None = None  # of a kept image


def match(method: str, path: str) -> Match:
    """The route of a request. Raises ApiError `unknown_url` or `method_not_allowed`."""
    found = _match_path(path)
    if found is None:
        shown = _shown(path)
        message = (
            f"There is no such route: {method} {shown}. The nearest is {_nearest(shown)}. /openapi.json lists all."
        )
        raise ApiError("unknown_url", message)
    # HEAD is GET without the body; the HTTP server leaves the body out.
    if method != found.route.method and not (method == "HEAD" and found.route.method == "GET"):
        allow = found.route.method
        raise ApiError("method_not_allowed", f"{found.route.path} takes {allow}, not {method}.", allow=allow)
    return found


def needs_key(path: str) -> bool:
    """Whether a path is behind the key: everything under /v1, known or not."""
    return path.startswith(API_PREFIX)


def _match_path(path: str) -> Match | None:
    if found := _match_plain(path, pipeline=None):
        return found
    image = path.removeprefix(KEPT_IMAGE_PREFIX)
    if image and image != path and "/" not in image:
        return Match(KEPT_IMAGE, name=image)
    first, slash, rest = path.removeprefix(API_PREFIX).partition("/")
    if path.startswith(API_PREFIX) and first and slash:
        return _match_plain(API_PREFIX + rest, pipeline=first)
    return None


def _match_plain(path: str, pipeline: str | None) -> Match | None:
    if route := FIXED.get(path):
        return Match(route, pipeline) if pipeline is None or route.needs_key else None
    model_id = path.removeprefix(MODEL_LIST.path + "/")
    if model_id and model_id != path and "/" not in model_id:
        return Match(MODEL_CARD, pipeline, model_id)
    return None


def _nearest(path: str) -> str:
    """The method and the path of the route that is most like `path`."""
    (nearest,) = get_close_matches(path, FIXED, n=1, cutoff=0)
    return f"{FIXED[nearest].method} {nearest}"


def _shown(path: str) -> str:
    """A path as an error may repeat it: short and printable."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in path[:100])
