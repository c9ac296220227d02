"""The frames between a gateway and a replica, and who may send them."""

import asyncio
import secrets
from collections.abc import AsyncGenerator

import pytest

from app.upstream.replica_connections import ReplicaConnections
from contract.custom_tools import CustomCalls
from contract.frames import (
    FRAME,
    MAX_PAYLOAD_BYTES,
    NONCE_BYTES,
    PROOF_BYTES,
    REQUEST,
    FrameError,
    FrameSplitter,
    Kind,
    is_proof,
    parse_request_head,
    parse_response_head,
    parse_response_tail,
    proof,
    request_head,
    response_head,
    response_tail,
)
from contract.protocol import Ranking, RequestHead, ResponseHead, ResponseItem, ResponseTail, Slot
from deployments import slots
from deployments.slots import Slots


def frame(kind: int, slot: int, payload: bytes) -> bytes:
    return FRAME.pack(len(payload), kind, slot) + payload


FRAMES = [(int(Kind.DATA), 1, b"a"), (int(Kind.TAIL), 2**32 - 1, b""), (int(Kind.HEAD), 0, b"x" * 1_000)]


@pytest.mark.parametrize("size", [1, 2, 9, 10, 11, 500, 5_000])
def test_frames_are_found_however_they_are_cut(size: int) -> None:
    splitter = FrameSplitter(MAX_PAYLOAD_BYTES)
    sent = b"".join(frame(*one) for one in FRAMES)
    found = [one for start in range(0, len(sent), size) for one in splitter.feed(sent[start : start + size])]
    assert found == FRAMES


def test_a_frame_that_announces_too_much_is_an_error_before_it_has_come() -> None:
    with pytest.raises(FrameError):
        FrameSplitter(10).feed(FRAME.pack(11, Kind.DATA, 0))


def test_heads_and_tails_are_the_same_behind_the_connection() -> None:
    echo = {"metadata": {"ä": "1"}}
    request = RequestHead("/v1/responses", "id", include_usage=True, echo=echo, strict=True, queue_ms=1.5)
    assert parse_request_head(request_head(request)) == request
    ranked = request._replace(ranking=Ranking(candidates=3, kept=2, logprobs=True))
    assert parse_request_head(request_head(ranked)) == ranked
    calling = request._replace(custom_calls=CustomCalls(("a", "b"), "a", {"tool_choice": "auto"}))
    assert parse_request_head(request_head(calling)) == calling
    head = ResponseHead(200, "audio/mpeg", None, {"seconds": 1.5}, None, (("n", 2.5, 1),))
    assert parse_response_head(response_head(head)) == (2**64 - 1, head)
    assert parse_response_head(response_head(head._replace(body=b"123"))) == (3, head)
    tail = ResponseTail({"total_tokens": 3}, {"code": "overloaded"})
    assert parse_response_tail(response_tail(tail)) == tail


def test_what_only_chooses_the_replica_is_not_sent() -> None:
    request = RequestHead("/v1/responses", "id", include_usage=False, echo={}, session="secret", prefix=(2**64 - 1,))
    assert parse_request_head(request_head(request)) == request._replace(session="", prefix=())


def test_a_proof_is_of_one_end_and_one_nonce() -> None:
    secret, nonce = secrets.token_bytes(32), secrets.token_bytes(NONCE_BYTES)
    given = proof(secret, "gateway", nonce)
    assert is_proof(given, secret, "gateway", nonce)
    assert not is_proof(given, secret, "replica", nonce)
    assert not is_proof(given, secret, "gateway", secrets.token_bytes(NONCE_BYTES))
    assert not is_proof(given, secrets.token_bytes(32), "gateway", nonce)


class Stranger:
    """Somebody who connects to a replica's port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connected(cls, slot: Slot) -> "Stranger":
        return cls(*await asyncio.open_connection(slot.host, slot.port))

    async def nonce(self) -> bytes:
        return (await self.reader.readexactly(FRAME.size + NONCE_BYTES))[FRAME.size :]

    async def is_cut_off(self) -> bool:
        async with asyncio.timeout(5):
            try:
                while await self.reader.read(1_000):
                    pass
            except ConnectionError:
                pass
        return True


class Service:
    """A replica's slots whose engine notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.slots = Slots()
        self.held: list[AsyncGenerator[Slot]] = []

    async def _answer(self, _: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        self.asked.append(body)
        yield ResponseHead(200, body=b"")

    async def slot(self) -> Slot:
        self.held.append(self.slots.hold(self._answer))
        return await anext(self.held[-1])


def request_frames(number: int, body: bytes = b"{}") -> bytes:
    head = request_head(RequestHead("/v1/responses", "id", include_usage=False, echo={}))
    lengths = REQUEST.pack(len(head), len(body), 1_000)
    return frame(Kind.REQUEST, number, lengths) + frame(Kind.BODY, number, head) + frame(Kind.BODY, number, body)


@pytest.mark.parametrize(
    "first",
    [
        request_frames(1),
        frame(Kind.PROOF, 0, bytes(PROOF_BYTES + NONCE_BYTES)),
        frame(Kind.PROOF, 0, b""),
        frame(99, 0, b""),
        FRAME.pack(2**32 - 1, Kind.PROOF, 0),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["a request", "a wrong proof", "an empty proof", "no such kind", "four gigabytes", "HTTP"],
)
async def test_who_does_not_know_the_secret_is_cut_off_and_no_engine_hears_of_it(first: bytes) -> None:
    service = Service()
    stranger = await Stranger.connected(await service.slot())
    await stranger.nonce()
    stranger.writer.write(first + request_frames(1))
    assert await stranger.is_cut_off()
    assert service.asked == []


async def test_who_says_nothing_is_cut_off_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PROOF_SECONDS", 0.05)
    stranger = await Stranger.connected(await Service().slot())
    assert await stranger.is_cut_off()


async def gateway_of(service: Service) -> tuple[Stranger, Slot]:
    """Who knows the secret and has said so."""
    slot = await service.slot()
    gateway = await Stranger.connected(slot)
    given = proof(slot.secret, "gateway", await gateway.nonce())
    gateway.writer.write(frame(Kind.PROOF, 0, given + bytes(NONCE_BYTES)))
    answer = await gateway.reader.readexactly(FRAME.size + PROOF_BYTES)
    assert is_proof(answer[FRAME.size :], slot.secret, "replica", bytes(NONCE_BYTES))
    return gateway, slot


async def test_who_knows_it_is_answered() -> None:
    service = Service()
    gateway, slot = await gateway_of(service)
    gateway.writer.write(request_frames(slot.number, b"body"))
    kind = FRAME.unpack(await gateway.reader.readexactly(FRAME.size))[1]
    assert (kind, service.asked) == (Kind.HEAD, [b"body"])


async def test_a_slot_that_is_not_held_answers_no_request() -> None:
    service = Service()
    gateway, slot = await gateway_of(service)
    gateway.writer.write(request_frames(slot.number + 1))
    _, kind, number = FRAME.unpack(await gateway.reader.readexactly(FRAME.size))
    assert (kind, number, service.asked) == (Kind.GONE, slot.number + 1, [])


@pytest.mark.parametrize(
    "wrong",
    [
        frame(Kind.DATA, 1, b""),
        frame(Kind.BODY, 1, b"more than nothing"),
        frame(Kind.REQUEST, 1, REQUEST.pack(2, 5, 10)) + frame(Kind.BODY, 1, b"[]123456"),
        frame(Kind.REQUEST, 1, REQUEST.pack(2, 5, 10)) + frame(Kind.REQUEST, 1, REQUEST.pack(2, 5, 10)),
        frame(Kind.REQUEST, 1, b"short"),
        frame(Kind.CREDIT, 1, b"short and long"),
        frame(Kind.REQUEST, 1, REQUEST.pack(4, 0, 10)) + frame(Kind.BODY, 1, b"nope"),
        frame(Kind.REQUEST, 1, REQUEST.pack(2, 0, 10)) + frame(Kind.BODY, 1, b"[]"),
    ],
    ids=["a replica's kind", "a body of nothing", "too much", "two at once", "a short request", "no number", "no JSON",
         "no head"],
)  # fmt: skip
async def test_what_is_no_request_cuts_the_connection_and_nothing_else(
    wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    gateway, _ = await gateway_of(service)
    gateway.writer.write(wrong)
    assert await gateway.is_cut_off()
    other, slot = await gateway_of(service)
    other.writer.write(request_frames(slot.number, b"body"))
    await other.reader.readexactly(FRAME.size)
    assert service.asked == [b"body"]
    assert "Traceback" not in caplog.text


async def test_a_gateway_talks_to_no_stranger() -> None:
    """One that has taken over the port of a replica, and waits for a request to read."""
    heard: list[bytes] = []

    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(Kind.NONCE, 0, bytes(NONCE_BYTES)))
        heard.append(await reader.readexactly(FRAME.size + PROOF_BYTES + NONCE_BYTES))
        writer.write(frame(Kind.PROOF, 0, bytes(PROOF_BYTES)))
        heard.append(await reader.read())

    async with await asyncio.start_server(stranger, "127.0.0.1") as server:
        host, port, *_ = server.sockets[0].getsockname()
        with pytest.raises(ConnectionError):
            await ReplicaConnections().to(Slot(host, port, secrets.token_bytes(NONCE_BYTES), 1))
    assert [FRAME.unpack(heard[0][: FRAME.size])[1], heard[1]] == [Kind.PROOF, b""]
