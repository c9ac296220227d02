"""The two carriers give a client the same bytes, whatever an engine answers: a connection is held to the handle."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import hypothesis
from hypothesis import strategies

from app.config.limits import Limits
from app.gateway.open_streams import OpenStreams
from app.gateway.streaming import StreamBrokenError, relay_bytes, relay_events
from app.http.response import ResponseWriter
from app.telemetry.record import RequestRecord
from app.upstream.carrier import Carrier
from app.upstream.connection_carrier import ConnectionCarrier
from app.upstream.handle_carrier import HandleCarrier
from app.upstream.relay import Relay
from app.upstream.replica_connections import ReplicaConnections
from contract import sse
from contract.errors import ApiError
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, ResponseTail
from deployments.slots import Slots
from tests.unit.connected import HEAD, Handle

WINDOW_BYTES = 3_000
ERROR = ApiError("overloaded", "full").to_wire()

bodies = strategies.binary(max_size=200_000)
numbers = strategies.integers(0, 2**40) | strategies.floats(0, 1e9, allow_nan=False)
usages = strategies.none() | strategies.dictionaries(strategies.text(max_size=5), numbers, max_size=3)
clamps = strategies.lists(strategies.tuples(strategies.text(max_size=5), numbers, numbers), max_size=2).map(tuple)
whole = strategies.tuples(strategies.integers(200, 299), bodies, usages, clamps).map(
    lambda drawn: ResponseHead(drawn[0], "application/json", drawn[1], drawn[2], None, drawn[3])
)
refused = strategies.just(ResponseHead(503, error=ERROR))
texts = strategies.text(max_size=3_000).map(lambda text: sse.event({"text": text}))
tails = strategies.tuples(usages, strategies.sampled_from([None, ERROR])).map(lambda drawn: ResponseTail(*drawn))


@strategies.composite
def answers(draw: strategies.DrawFn) -> list[ResponseItem]:
    """What an engine may say: all of an answer, a refusal, or a stream, which may lack its end."""
    if draw(strategies.booleans()):
        return [draw(whole | refused)]
    events = draw(strategies.booleans())
    pieces = draw(strategies.lists(texts if events else strategies.binary(min_size=1, max_size=9_000), max_size=20))
    end = [draw(tails)] if draw(strategies.integers(0, 5)) else []
    return [ResponseHead(200, EVENT_STREAM if events else "audio/mpeg"), *pieces, *end]


class AlwaysUp:
    """Replicas that run."""

    def is_up(self, _: str) -> bool:
        return True

    async def check_whether_up(self, _: str) -> bool:
        return True


async def given_to_a_client(carrier: Carrier, handle: Handle, request: RequestHead, body: bytes) -> tuple[Any, ...]:
    """All that the gateway makes of an answer: what it says of it, and the bytes that it writes."""
    written: list[bytes] = []
    record = RequestRecord("")
    released: list[None] = []

    async def send(message: dict[str, Any]) -> None:
        written.append(message.get("body", b""))

    response = ResponseWriter(send, lambda _: (), 60)
    relay = Relay(carrier, {"alpha": handle}, AlwaysUp(), {})
    try:
        answer = await relay.send("alpha", request, body, 10)
    except ApiError as error:
        return error.status, error.code, error.message
    answer.when_ended(lambda: released.append(None))
    try:
        if answer.head.body is not None:
            written.append(answer.head.body)
        elif answer.head.announces_events:
            await relay_events(
                response, record, answer, Limits(), lambda error, *_: sse.event(error.envelope()), streams=OpenStreams()
            )
        else:
            await relay_bytes(response, record, answer, Limits(), streams=OpenStreams())
    except StreamBrokenError as error:
        written.append(repr(error).encode())
    finally:
        answer.close()
    head = answer.head._replace(clamped=tuple(answer.head.clamped))
    return head, answer.tail, record.usage, record.reason, record.events, len(released), b"".join(written)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(items=answers(), body=bodies)
def test_both_carriers_give_the_same_answer(items: list[ResponseItem], body: bytes) -> None:
    got: list[tuple[RequestHead, bytes]] = []

    async def engine(request: RequestHead, given: bytes) -> AsyncGenerator[ResponseItem]:
        got.append((request, given))
        for item in items:
            yield item
            await asyncio.sleep(0)

    async def both() -> list[Any]:
        slots = Slots()
        handle = Handle(slots, engine)
        connections = ReplicaConnections()
        carriers: list[Carrier] = [
            HandleCarrier({"alpha": handle}, WINDOW_BYTES),
            ConnectionCarrier({"alpha": handle}, connections, WINDOW_BYTES),
        ]
        answers = [await given_to_a_client(carrier, handle, HEAD, body) for carrier in carriers]
        slots.close()
        return answers

    over_handle, over_connection = asyncio.run(both())
    assert over_connection == over_handle
    assert got[0] == got[1] == (HEAD, body)
