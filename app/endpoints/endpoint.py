"""One HTTP route as data, and one that models answer: an endpoint."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import orjson

from app.budgets.estimate import CountedFields
from app.config.limits import Limits
from app.endpoints.answers import Component, Schema
from app.endpoints.api_style import OPENAI, ApiStyle
from app.http.body import Receive, read_json
from app.http.multipart import is_form, read_form
from app.parameters.adjust import Adjusted
from app.parameters.form_fields import request_of
from app.parameters.image_references import image_reference
from app.parameters.parts import AudioSlot, ImageSlot
from app.parameters.request_bounds import MAX_VALUES, check_bounds
from app.parameters.row import Table
from contract import sse
from contract.custom_tools import CustomCalls
from contract.errors import ApiError
from contract.profile import Profile
from contract.protocol import Ranking

JSON, FORM = "application/json", "multipart/form-data"


class ImagePublisher(Protocol):
    """Keeps images and gives them URLs."""

    def origin(self, host: str | None) -> str:
        """The beginning of every URL, for a client that called `host`. Raises ApiError where there is none."""
        ...

    async def publish(self, answer: bytes, host: str | None) -> bytes:
        """`answer` with URLs in place of its images."""
        ...


class Exchange(NamedTuple):
    """One legal request: what the hooks of its endpoint may read and use."""

    request_id: str
    model_id: str
    headers: Mapping[str, str]  # the client's, names in lower case
    adjusted: Adjusted
    image_store: ImagePublisher


def json_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """The parameters and the model's id, in JSON."""
    return orjson.dumps(parameters | {"model": model_id})


def error_event(_exchange: Exchange, error: ApiError, _first: bytes, _events: int) -> bytes:
    """An event of the type `error` with the error's envelope."""
    return sse.event(error.envelope(), "error")


async def as_it_is(_exchange: Exchange, answer: bytes) -> bytes:
    return answer


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """One route. `path` is its name in the documentation and in the metrics; {id} stands for a model's id."""

    method: str = "GET"
    path: str
    also: tuple[str, ...] = ()  # other paths of it, as clients of another API call it
    summary: str
    answer: str  # describes the 200
    content: dict[str, Schema | Component]  # media type of a 200 -> its schema; of a stream: the schema of one event
    query: dict[str, str] = field(default_factory=dict)  # its optional parameters in the URL, and what they are
    needs_key: bool = True
    style: ApiStyle = OPENAI
    is_probe: bool = False  # called by machines every few seconds, so not worth a line in the access log

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path, *self.also)


@dataclass(frozen=True, kw_only=True, eq=False)
class Endpoint(Route):
    """One route that models answer, with all that is particular to it."""

    method: str = "POST"
    table: Table
    example: dict[str, Any]  # the smallest legal request, without its model
    counted: CountedFields  # what the budget's estimate reads
    # Images that a form may bring as files, beside JSON, which has them in base64: their names, and how many of each.
    image_files: dict[str, int] = field(default_factory=dict)
    max_values: int = MAX_VALUES  # in all arrays and objects of a request together
    # (parameters for the engine, model id) -> the engine's body
    engine_body: Callable[[dict[str, Any], str], bytes] = json_body
    # (request, not checked yet) -> bytes of images and audio in base64 inside it; none: it may hold no such
    media_bytes: Callable[[dict[str, Any]], int] | None = None
    # parameters for the engine -> the images in them, which the gateway fetches and measures
    images: Callable[[dict[str, Any]], Iterator[ImageSlot]] = lambda _: iter(())
    # the same of audio, which is checked
    audio: Callable[[dict[str, Any]], Iterator[AudioSlot]] = lambda _: iter(())
    echoed: tuple[str, ...] = ()  # accepted parameters that the answer repeats
    # parameters of the gateway -> whether the client wants the usage event of a stream
    include_usage: Callable[[dict[str, Any]], bool] = lambda _: False
    # parameters for the engine -> which choices the replica keeps, where the engine generates more
    ranking: Callable[[dict[str, Any]], Ranking | None] = lambda _: None
    # parameters for the engine -> how the calls of its custom tools come back, where the engine has no such
    custom_calls: Callable[[dict[str, Any]], CustomCalls | None] = lambda _: None
    # Raises ApiError where a legal request cannot be answered, before the engine gets it.
    before: Callable[[Exchange], None] = lambda _: None
    # (exchange, the engine's whole answer) -> the client's
    after: Callable[[Exchange, bytes], Awaitable[bytes]] = as_it_is
    # (exchange, error, first piece or nothing, events so far) -> the last event of a stream that failed
    failure_event: Callable[[Exchange, ApiError, bytes, int], bytes] = error_event
    # parameters for the engine -> characters, where they are what is billed
    characters: Callable[[dict[str, Any]], int] | None = None
    # parameters for the engine -> images that are asked for
    wanted_images: Callable[[dict[str, Any]], int] = lambda _: 0
    # (request as it came, profile) -> tokens that an answer which is no text counts as
    answer_tokens: Callable[[dict[str, Any], Profile], int] = lambda _, __: 0

    @property
    def request_types(self) -> tuple[str, ...]:
        """The media types of a request; the first is the usual one."""
        if self.table.file is not None:
            return (FORM,)
        return (JSON, FORM) if self.image_files else (JSON,)

    @property
    def makes_text(self) -> bool:
        """Whether the answer is generated text, whose tokens a request may limit."""
        return bool(self.counted.limits)

    async def read(self, receive: Receive, headers: dict[str, str], limits: Limits) -> dict[str, Any]:
        """The request in the body, not checked yet; of a form, the file's bytes under its name. Raises ApiError."""
        if self.image_files and is_form(headers):
            # In base64 they are no more than a JSON body may be.
            form = await read_form(receive, headers, self.image_files, limits.max_body_bytes // 4 * 3)
            images = {name: list(map(image_reference, files)) for name, files in form.files.items()}
            return request_of(self.table, form.fields) | images
        if self.table.file is None:
            request = await read_json(receive, headers, limits, self.max_values, self.media_bytes)
            check_bounds(request, self.max_values)
            return request
        form = await read_form(receive, headers, {self.table.file: 1}, limits.max_file_bytes)
        return request_of(self.table, form.fields) | {name: file for name, (file,) in form.files.items()}
