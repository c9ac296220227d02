"""What every echo of this benchmark answers: a fixed text, whole or as events at a rate.

A request says which: `max_tokens` is the number of chunks, `seed` how many come a second (left out: all at once).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

MARK = "lorem"  # stands once in each chunk
WORDS = [f"{MARK}{number} " for number in range(10)]  # LiteLLM ends a stream that repeats one chunk
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
DONE = b"data: [DONE]\n\n"
_SAME = {"id": "chatcmpl-echo", "created": 1_700_000_000, "model": "echo"}


def completion() -> bytes:
    """A whole answer, 400 bytes of JSON."""
    message = {"role": "assistant", "content": "".join(WORDS * 2)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return orjson.dumps({**_SAME, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    """One event, 200 bytes."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: %b\n\n" % orjson.dumps({**_SAME, "object": "chat.completion.chunk", "choices": [choice]})


COMPLETION = completion()
FIRST = chunk({"role": "assistant", "content": WORDS[0]})
NEXT = [chunk({"content": word}) for word in WORDS]
LAST = chunk({}, "stop")


async def events(request: dict[str, Any]) -> AsyncIterator[bytes]:
    """The events of a streamed answer: the first at once, each other when its time has come."""
    number, rate = request["max_tokens"], request.get("seed")
    start = time.monotonic()
    for at in range(number):
        if rate and (early := start + at / rate - time.monotonic()) > 0:
            await asyncio.sleep(early)
        yield NEXT[at % len(NEXT)] if at else FIRST
    yield LAST
    yield DONE
