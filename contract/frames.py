"""The frames on a connection between a gateway and a replica: what `contract.protocol` says, as bytes on a socket.

A connection carries many requests at once. Each has a slot of the replica, whose number stands in its frames: Serve
counts a slot as one ongoing request, and knows nothing of the connection. A frame is its payload's length, its kind,
the slot, then the payload. In the order in which they come:

    replica               gateway
    NONCE        ->                    32 random bytes
                 <-       PROOF        that the gateway knows the replica's secret, and 32 random bytes
    PROOF        ->                    that the replica knows it too
                 <-       REQUEST      the lengths of a request's head (JSON) and body, which follow, and how many bytes
                                       of DATA may come
                 <-       BODY         a part of them
    HEAD         ->                    the length of a whole body, or STREAMED; then the head (JSON)
    DATA         ->                    a part of the whole body; of a stream a piece, or a part of one
                 <-       CREDIT       so many more bytes of DATA may come
    TAIL         ->                    of a stream: it has ended (JSON)
                 <-       END          the slot is given back; what is under way there is cancelled
    GONE         ->                    the slot is not there (any more)
"""

import hmac
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

import orjson

from contract.custom_tools import CustomCalls
from contract.protocol import Adapter, Ranking, RequestHead, ResponseHead, ResponseTail

PART_BYTES = 64 * 1024  # of a payload, so that a large one lets others pass
MAX_PAYLOAD_BYTES = 1 << 20  # of a frame that cannot be cut, such as a head
FRAME = Struct("!IBI")  # the payload's length, the kind, the slot
REQUEST = Struct("!IQI")  # the head's length, the body's, and the bytes of DATA that may come
BODY_LENGTH = Struct("!Q")  # of HEAD
NUMBER = Struct("!I")  # of CREDIT
STREAMED = 2**64 - 1  # in place of a length
NONCE_BYTES = 32
PROOF_BYTES = 32


class Kind(IntEnum):
    """What a frame is."""

    NONCE = 1
    PROOF = 2
    REQUEST = 3
    BODY = 4
    HEAD = 5
    DATA = 6
    CREDIT = 7
    TAIL = 8
    END = 9
    GONE = 10


class Frame(NamedTuple):
    """One frame that was read."""

    kind: int
    slot: int
    payload: bytes


class FrameError(Exception):
    """What came is no frame of this protocol: the connection is of no more use."""


class FrameSplitter:
    """Cuts what a socket brings into frames."""

    def __init__(self, max_payload_bytes: int) -> None:
        self.max_payload_bytes = max_payload_bytes
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises FrameError where one announces more than is allowed."""
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        start, size = 0, len(data)
        while size - start >= FRAME.size:
            length, kind, slot = FRAME.unpack_from(data, start)
            if length > self.max_payload_bytes:
                raise FrameError(f"a frame of {length} bytes, and {self.max_payload_bytes} are allowed")
            payload = start + FRAME.size
            end = payload + length
            if end > size:
                break
            frames.append(Frame(kind, slot, data[payload:end]))
            start = end
        self._rest = data[start:]
        return frames


def proof(secret: bytes, whose: str, nonce: bytes) -> bytes:
    """That one end, `gateway` or `replica`, knows `secret`; `nonce` is the other's."""
    return hmac.digest(secret, whose.encode() + nonce, "sha256")


def is_proof(given: bytes, secret: bytes, whose: str, nonce: bytes) -> bool:
    return hmac.compare_digest(given, proof(secret, whose, nonce))


def request_head(head: RequestHead) -> bytes:
    """As JSON. What only chooses the replica is not in it: that is done."""
    adapter, ranking, calls = (part and list(part) for part in (head.adapter, head.ranking, head.custom_calls))
    return orjson.dumps(
        [head.route, head.request_id, head.include_usage, head.echo, head.strict, head.queue_ms, adapter, ranking,
         calls, head.traceparent, head.tracestate]
    )  # fmt: skip


def parse_request_head(data: bytes | memoryview) -> RequestHead:
    route, request_id, include_usage, echo, strict, queue_ms, adapter, ranking, calls, *trace = orjson.loads(data)
    return RequestHead(
        route,
        request_id,
        include_usage,
        echo,
        strict,
        queue_ms=queue_ms,
        adapter=adapter and Adapter(*adapter),
        ranking=ranking and Ranking(*ranking),
        custom_calls=calls and CustomCalls(tuple(calls[0]), *calls[1:]),
        traceparent=trace[0],
        tracestate=trace[1],
    )


def response_head(head: ResponseHead) -> bytes:
    """The payload of HEAD; the body follows by itself."""
    length = STREAMED if head.body is None else len(head.body)
    fields = [head.status, head.content_type, head.usage, head.error, head.clamped]
    return BODY_LENGTH.pack(length) + orjson.dumps(fields)


def parse_response_head(payload: bytes) -> tuple[int, ResponseHead]:
    """The length of the body, or STREAMED, and the head without it."""
    (length,) = BODY_LENGTH.unpack_from(payload)
    status, content_type, usage, error, clamped = orjson.loads(memoryview(payload)[BODY_LENGTH.size :])
    return length, ResponseHead(status, content_type, None, usage, error, tuple(map(_clamp, clamped)))


def _clamp(fields: list[Any]) -> tuple[str, float, float]:
    parameter, before, after = fields
    return parameter, before, after


def response_tail(tail: ResponseTail) -> bytes:
    return orjson.dumps([tail.usage, tail.error])


def parse_response_tail(payload: bytes) -> ResponseTail:
    return ResponseTail(*orjson.loads(payload))
