"""What is known of one request: written as it goes through the gateway, read once when it has ended."""

from dataclasses import dataclass, field
from typing import Any

from app.config.prices import Quantities
from app.telemetry.trace import Trace

OK = "ok"
CLIENT_GONE = "client_gone"
READER_STALLED = "reader_stalled"

CACHED_FIELDS = ("prompt_tokens_details", "input_tokens_details")
TOKEN_FIELDS = {"prompt": ("prompt_tokens", "input_tokens"), "completion": ("completion_tokens", "output_tokens")}


@dataclass(slots=True)
class RequestRecord:
    """Plain facts, in the order in which they become known. Times in seconds."""

    # the request
    request_id: str  # a UUID
    client_request_id: str | None = None  # the client's own, where it may be echoed
    route: str = ""
    trace: Trace | None = None  # where tracing is on
    is_probe: bool = False  # liveness, readiness, metrics: requested by machines every few seconds
    # whose it is, and which model it is for
    key_id: str | None = None
    team_id: str | None = None  # of the key
    model_id: str | None = None
    makes_text: bool = False  # whether its tokens are a text's
    # what it may cost
    estimated_prompt: int | None = None  # tokens, of a request that makes text
    admission_at_s: float | None = None  # since the request came; when its budget was asked
    admission_s: float | None = None  # until that admitted it
    admitted: bool = False  # whether the key's budget has let it in, so that what it uses is settled
    refused_resource: str | None = None  # what of the key's budget was spent
    accepted: dict[str, Any] = field(
        default_factory=dict
    )  # parameters without effect, such as those that name a user, for the log
    left_engine: bool = False  # whether the client left while the engine worked
    estimated_answer: int = 0  # tokens, of a request whose client left before the engine had said how many
    wanted_images: int = 0
    characters: int | None = None  # of a request that is counted by them
    adjustments: str | None = None  # what was changed in the request, as the header says it
    queued_at_s: float | None = None  # since the request came; when it was ready for its model
    queue_s: float | None = None  # the wait for a place at the model
    engine_s: float | None = None  # from then until the replica had done with the request
    # the outcome
    status: int | None = None
    overhead_s: float = 0.0  # the gateway's own time up to the first byte
    first_byte_s: float | None = None
    streamed: bool = False
    events: int = 0  # of a stream, that came from the engine
    usage: dict[str, Any] | None = None  # as the engine reported it
    reason: str = OK  # or an error's code, CLIENT_GONE, READER_STALLED
    total_s: float = 0.0

    def tokens(self) -> dict[str, int]:
        """Tokens used, by kind; empty where nothing was reported."""
        usage = self.usage or {}
        return {kind: usage[name] for kind, names in TOKEN_FIELDS.items() for name in names if name in usage}

    def tokens_to_charge(self) -> int | None:
        """As reported; else what was seen of a stream of text, an event a token; else not known."""
        if self.usage is not None:
            return sum(self.tokens().values())
        return self.estimated_prompt + self.events if self.streamed and self.estimated_prompt is not None else None

    @property
    def is_unreported(self) -> bool:
        """Whether the engine worked, and never said what it used: a stream of text was cut, or the client left."""
        return self.usage is None and (self.left_engine or (self.streamed and self.makes_text))

    def quantities(self) -> Quantities:
        """What it used, as reported; else what was seen and estimated of it."""
        usage = self.usage
        characters = self.characters or 0
        if usage is None:
            if not self.is_unreported or self.estimated_prompt is None:
                return Quantities(characters=characters)
            answer = self.events if self.makes_text else self.estimated_answer
            return Quantities(self.estimated_prompt, 0, answer, self.wanted_images, characters=characters)
        tokens = self.tokens()
        details: dict[str, Any] = next((found for name in CACHED_FIELDS if (found := usage.get(name))), {})
        return Quantities(
            tokens.get("prompt") or 0,
            details.get("cached_tokens") or 0,
            tokens.get("completion") or 0,
            usage.get("images") or 0,
            usage.get("seconds") or 0.0,
            characters,
        )

    def first_token_s(self) -> float | None:
        """Time to the first token of a streamed text; None for anything else, such as an answer that comes whole."""
        return self.first_byte_s if self.makes_text and self.streamed else None

    def inter_token_s(self) -> float | None:
        """Mean time between the tokens of a streamed text that ended well; None for anything else."""
        tokens = self.tokens().get("completion", 0)
        if not (self.makes_text and self.streamed and self.reason == OK and tokens > 1):
            return None
        return (self.total_s - (self.first_byte_s or 0.0)) / (tokens - 1)
