"""What passes between the gateway and a replica, whatever carries it: plain tuples, dicts and bytes.

The gateway sends one `RequestHead` and the body's bytes. The replica sends one `ResponseHead`. Where that holds a
`body`, the answer is complete. Otherwise pieces of the body follow as bytes, each of whole server-sent events where
that is its content type, and last one `ResponseTail`. A stream without its tail was cut off: a failure never looks
like success.
"""

from typing import Any, NamedTuple

from contract.custom_tools import CustomCalls

# Routes that models answer, as clients and engines both call them.
CHAT_ROUTE = "/v1/chat/completions"
COMPLETIONS_ROUTE = "/v1/completions"
RESPONSES_ROUTE = "/v1/responses"
INPUT_TOKENS_ROUTE = "/v1/responses/input_tokens"
TOKENIZE_ROUTE = "/v1/tokenize"
DETOKENIZE_ROUTE = "/v1/detokenize"
EMBEDDINGS_ROUTE = "/v1/embeddings"
RERANK_ROUTE = "/v1/rerank"
SCORE_ROUTE = "/v1/score"
IMAGES_ROUTE = "/v1/images/generations"
EDITS_ROUTE = "/v1/images/edits"
VARIATIONS_ROUTE = "/v1/images/variations"
TRANSCRIPTIONS_ROUTE = "/v1/audio/transcriptions"
TRANSLATIONS_ROUTE = "/v1/audio/translations"
SPEECH_ROUTE = "/v1/audio/speech"
MESSAGES_ROUTE = "/v1/messages"
COUNT_TOKENS_ROUTE = "/v1/messages/count_tokens"
ENDPOINT_ROUTES = tuple(path for name, path in list(globals().items()) if name.endswith("_ROUTE"))  # all of the above

EVENT_STREAM = "text/event-stream"
LENGTH_BYTES = 8
KV_CACHE_USAGE = "kv_cache_usage"  # in 0..1; what `record_autoscaling_stats` of a replica reports
RESIDENT_ADAPTERS = "resident_adapters"  # their ids; what `record_routing_stats` of a replica reports

Clamp = tuple[str, float, float]  # (parameter, from, to)


class Adapter(NamedTuple):
    """A LoRA adapter of a model, as the configuration names it: a replica gets it with each request that is for it."""

    id: str  # what clients call it
    source: str  # a folder or a hub name
    revision: str | None = None  # the commit of a hub name


class Ranking(NamedTuple):
    """Which choices of a completion its answer keeps: of each prompt's `candidates` the `kept` likeliest."""

    candidates: int
    kept: int
    logprobs: bool  # whether they keep their log probabilities


class RequestHead(NamedTuple):
    """One request as a replica sees it."""

    route: str  # the engine's path, such as /v1/chat/completions
    request_id: str  # a UUID
    include_usage: bool  # whether the client asked to see the usage event of a stream
    echo: dict[str, Any]  # what the answer repeats of the request, such as `metadata`
    strict: bool = False  # whether the client wants an error where the replica would change its request
    session: str = ""  # a digest; requests that share it go to the same replica, where the model's routing says so
    prefix: tuple[int, ...] = ()  # digests of the conversation's beginning, see `app/upstream/affinity.py`
    queue_ms: float = 0.0  # that it has waited in the gateway for a place, for the replica's log
    adapter: Adapter | None = None  # of the model, where the request is for one
    ranking: Ranking | None = None  # where the engine generates more choices than are asked for
    custom_calls: CustomCalls | None = None  # where it has custom tools that the engine has not
    traceparent: str = ""  # of the gateway's call, where it traces requests; `tracestate` goes with it
    tracestate: str = ""


class SlotRequest(NamedTuple):
    """What a gateway asks a replica's slot with: what its router chooses by."""

    prefix: tuple[int, ...] = ()  # as in RequestHead
    adapter: Adapter | None = None  # as in RequestHead


class Slot(NamedTuple):
    """A slot of a replica, which Serve counts as one ongoing request: where it is, and how to be let in."""

    host: str
    port: int
    secret: bytes  # of the replica; only Serve's own connection carries it
    number: int


class ResponseHead(NamedTuple):
    """The first item of every answer. With `error` set nothing else counts and nothing follows."""

    status: int
    content_type: str = "application/json"
    body: bytes | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None  # an ApiError's `to_wire`
    clamped: tuple[Clamp, ...] = ()  # what the replica changed in the request, as only the engine could find

    @property
    def announces_events(self) -> bool:
        """Whether the pieces that follow are server-sent events; a charset may stand behind that type."""
        return self.content_type.partition(";")[0].strip() == EVENT_STREAM


class ResponseTail(NamedTuple):
    """The last item of a streamed answer: what it used, and the error that ended it, if one did."""

    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


ResponseItem = ResponseHead | bytes | ResponseTail


def join(fields: bytes, file: bytes | bytearray) -> bytes:
    """The body of a request with a file: the length of `fields` (JSON), then `fields`, then the file as it is."""
    return b"".join([len(fields).to_bytes(LENGTH_BYTES), fields, file])


def split(body: bytes) -> tuple[memoryview, memoryview]:
    """What `join` was given; nothing is copied."""
    view = memoryview(body)
    end = LENGTH_BYTES + int.from_bytes(view[:LENGTH_BYTES])
    return view[LENGTH_BYTES:end], view[end:]
