"""What is sent: bodies, streams, clients, rates."""

from typing import Any, NamedTuple

import orjson

WARM_UP_SECONDS = 2.0
KB = 1000
SENTENCE = "The lighthouse keeper wrote down the weather of every day in a book that nobody had asked him to write. "


class Scenario(NamedTuple):
    """A load. In a closed loop a client sends its next request when its last is answered; else they come at random."""

    name: str
    clients: int = 0  # of a closed loop
    per_second: float = 0.0  # requests of an open loop
    body_bytes: int = KB  # at least
    chunks: int = 0  # of each streamed answer; 0: an answer that comes whole
    chunks_per_second: int = 50
    seconds: float = 6.0  # that are measured, after the warm-up

    @property
    def stream_seconds(self) -> float:
        return self.chunks / self.chunks_per_second

    def body(self, model: str) -> bytes:
        """The request, in JSON."""
        text = (SENTENCE * (self.body_bytes // len(SENTENCE) + 1))[: self.body_bytes]
        request: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 16}
        if self.chunks:
            request |= {"stream": True, "max_tokens": self.chunks, "seed": self.chunks_per_second}
        return orjson.dumps(request)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("1kb-1", clients=1),
        Scenario("1kb-8", clients=8),
        Scenario("1kb-16", clients=16),
        Scenario("1kb-64", clients=64),
        Scenario("1kb-256", clients=256),
        Scenario("1kb-open", per_second=20),
        Scenario("10kb-16", clients=16, body_bytes=10 * KB),
        Scenario("220kb-16", clients=16, body_bytes=220 * KB),
        Scenario("1mb-8", clients=8, body_bytes=1000 * KB),
        Scenario("50-chunks-1", clients=1, chunks=50, seconds=12),
        Scenario("50-chunks-8", clients=8, chunks=50),
        Scenario("50-chunks-64", clients=64, chunks=50, chunks_per_second=10),
        Scenario("50-chunks-256", clients=256, chunks=50, chunks_per_second=4),
        Scenario("50-chunks-open", per_second=8, chunks=50),
        Scenario("200-chunks-8", clients=8, chunks=200),
        Scenario("200-chunks-32", clients=32, chunks=200),
        Scenario("2000-chunks-2", clients=2, chunks=2000, chunks_per_second=200),
    )
}
FIRST_LOOK = ("1kb-16", "200-chunks-8")  # what a change is judged by first
