"""What is sent: whole answers, whole streams, and all that can go wrong, each by a seeded choice."""

import random
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

from app.telemetry.record import CLIENT_GONE, OK
from benchmarks.gateway.faults.engine import Mode, PlannedAnswer
from benchmarks.gateway.page import Outcome
from benchmarks.gateway.scenarios import SENTENCE

CHUNKS, CHUNKS_PER_SECOND = 20, 50  # of a stream that nothing befalls
LEFT_CHUNKS, LEFT_PER_SECOND = 1000, 10  # of one that its client leaves: slow, so that both ends count the same chunks
MOST_SEEN = 5  # chunks, until it breaks off or is left
PATIENCE_SECONDS = (0.0, 0.5)  # of a client that leaves before the first byte, once the engine has its request


class Kind(NamedTuple):
    """One way a request can go."""

    name: str
    mode: Mode
    status: int  # that the gateway counts; 0: none was sent
    reason: str
    streams: bool = False
    is_left: bool = False  # by its client

    @property
    def outcome(self) -> Outcome:
        return self.status, self.reason


ANSWER = Kind("answer", Mode.ANSWER, 200, OK)
STREAM = Kind("stream", Mode.ANSWER, 200, OK, streams=True)
BROKEN_STREAM = Kind("broken-stream", Mode.BREAK, 200, "upstream_error", streams=True)
LEFT_STREAM = Kind("left-stream", Mode.ANSWER, 200, CLIENT_GONE, streams=True, is_left=True)
LEFT_BEFORE = Kind("left-before-first-byte", Mode.WAIT, 0, CLIENT_GONE, is_left=True)
REFUSED = Kind("refused", Mode.ANSWER, 400, "invalid_type")
ENGINE_ERROR = Kind("engine-error", Mode.FAIL, 502, "upstream_error")
KINDS = (ANSWER, STREAM, BROKEN_STREAM, LEFT_STREAM, LEFT_BEFORE, REFUSED, ENGINE_ERROR)


class Request(NamedTuple):
    """One request, and what is to become of it."""

    kind: Kind
    id: str  # a UUID
    seen: int = 0  # chunks, until its stream breaks off or is left
    patience: float = 0.0  # seconds, of a client that leaves before the first byte
    tokens: int = CHUNKS  # of the answer, as the engine will report them

    @property
    def chunks(self) -> int:
        """That a stream has before the event that ends it."""
        return self.seen if self.kind is BROKEN_STREAM else CHUNKS + 1  # the last says why it is over

    def body(self, model: str, port: int = 0) -> dict[str, Any]:
        """In JSON's types. `port` is where its client learns that the engine waits."""
        chunks, per_second = (LEFT_CHUNKS, LEFT_PER_SECOND) if self.kind is LEFT_STREAM else (CHUNKS, CHUNKS_PER_SECOND)
        return {
            "model": model,
            "messages": [{"role": "user", "content": SENTENCE}],
            "max_tokens": chunks,
            "seed": per_second,
            "stream": self.kind.streams,
            "temperature": "high" if self.kind is REFUSED else 1.0,
            "metadata": PlannedAnswer(self.kind.mode, self.seen, self.tokens, port).metadata(),
        }


def choices(seed: int) -> Iterator[Request]:
    """The requests of one client, the same in every run."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    while True:
        yield Request(
            chance.choice(KINDS),
            str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            chance.randint(1, MOST_SEEN),
            chance.uniform(*PATIENCE_SECONDS),
        )


def request_of(kind: Kind, tokens: int = CHUNKS) -> Request:
    """One that nothing chose."""
    return Request(kind, str(uuid.uuid4()), MOST_SEEN, tokens=tokens)
