"""The replica around any engine: when a head leaves, what becomes of failures, what Serve asks of it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from logging.handlers import MemoryHandler
from typing import Any, Self

import pytest

from contract.errors import ApiError, upstream_error
from contract.fields import Strict
from contract.options.catalog import EngineSpec, ServedModel
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, ResponseTail
from deployments.health import EngineBrokenError
from deployments.replica import Engine, Replica
from deployments.watchdog import Watchdog

HEAD = RequestHead("/chat", "4f0c9e4c-0000-4000-8000-000000000000", include_usage=False, echo={})
STREAM = ResponseHead(200, EVENT_STREAM)
BAD = ApiError("invalid_value", "no", param="input")
LOST = RuntimeError("the GPU is lost")
Answer = Callable[[RequestHead, bytes], AsyncGenerator[ResponseItem]]


class Options(Strict):
    loud: bool = False


class FakeEngine(Engine):
    """Answers as `answers` says, and remembers what it went through."""

    answers: Answer

    def __init__(self, model: ServedModel, options: Options) -> None:
        self.model, self.options = model, options
        self.trials = 0
        self.broken: Exception | None = None
        self.dead: Exception | None = None
        self.waiting = 0
        self.closed = 0

    @classmethod
    async def start(cls, model: ServedModel, options: Options) -> Self:
        return cls(model, options)

    def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        return self.answers(request, body)

    def profile(self) -> Profile:
        return Profile(self.model.engine, frozenset({self.model.task}))

    async def trial(self) -> None:
        self.trials += 1
        if self.broken:
            raise self.broken

    async def check_health(self) -> None:
        if self.dead:
            raise self.dead

    def unfinished(self) -> int:
        return self.waiting

    def steps(self) -> int:
        return 0

    def close(self) -> None:
        self.closed += 1


class BrokenEngine(FakeEngine):
    async def trial(self) -> None:
        raise LOST


class HangingEngine(FakeEngine):
    async def trial(self) -> None:
        await asyncio.Event().wait()


class ClosingEngine(FakeEngine):
    @classmethod
    async def start(cls, model: ServedModel, options: Options) -> Self:
        for handler in logging.getLogger("ray.serve").handlers:
            handler.close()  # as `logging.config.dictConfig` does
        return cls(model, options)


def spec(name: str) -> EngineSpec:
    return EngineSpec("fake", {"chat": f"{__name__}:{name}"}, Options)


async def replica_of(answer: Answer | None = None, **engine_kwargs: Any) -> Replica:
    """A replica of an engine that answers so."""
    replica = await Replica.started(spec("FakeEngine"), ServedModel("m", "fake", "chat", "somewhere", engine_kwargs))
    if answer:
        engine_of(replica).answers = answer
    return replica


def engine_of(replica: Replica) -> Any:
    return replica.engine


def answering(*items: ResponseItem | Exception) -> Answer:
    async def answer(_: RequestHead, __: bytes) -> AsyncGenerator[ResponseItem]:
        for item in items:
            await asyncio.sleep(0)
            if isinstance(item, Exception):
                raise item
            yield item

    return answer


async def items_of(replica: Replica) -> list[Any]:
    async with aclosing(replica.handle(HEAD, b"{}")) as items:
        return [item async for item in items]


async def answered(*items: ResponseItem | Exception) -> list[Any]:
    return await items_of(await replica_of(answering(*items)))


class TestStart:
    async def test_serve_s_log_is_written_where_it_was_before(self) -> None:
        target, logger = logging.NullHandler(), logging.getLogger("ray.serve")
        buffer = MemoryHandler(10, target=target)
        logger.addHandler(buffer)
        try:
            await Replica.started(spec("ClosingEngine"), ServedModel("m", "fake", "chat", "somewhere", {}))
        finally:
            logger.removeHandler(buffer)
        assert buffer.target is target

    async def test_it_is_ready_after_one_trial(self) -> None:
        assert engine_of(await replica_of()).trials == 1

    async def test_an_engine_that_fails_its_trial_is_not_ready(self) -> None:
        with pytest.raises(RuntimeError, match="the GPU is lost"):
            await Replica.started(spec("BrokenEngine"), ServedModel("m", "fake", "chat", "somewhere"))

    async def test_an_engine_that_hangs_in_its_first_trial_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stalled = asyncio.Event()
        monkeypatch.setattr("deployments.replica.Watchdog", partial(Watchdog, stalled=stalled.set))
        model = ServedModel("m", "fake", "chat", "somewhere", stall_timeout_s=0.1)
        starting = asyncio.create_task(Replica.started(spec("HangingEngine"), model))
        async with asyncio.timeout(10):
            await stalled.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    async def test_the_engine_gets_its_model_and_its_options_in_their_type(self) -> None:
        engine = engine_of(await replica_of(loud=True))
        assert (engine.model.id, engine.model.source, engine.options) == ("m", "somewhere", Options(loud=True))

    async def test_what_the_model_can_do_is_plain_data(self) -> None:
        assert Profile.from_wire(await (await replica_of()).describe()) == Profile("fake", frozenset({"chat"}))


class TestAnswers:
    async def test_a_whole_answer_is_handed_on(self) -> None:
        whole = ResponseHead(200, body=b"{}", usage={"total_tokens": 1})
        assert await answered(whole) == [whole]

    async def test_a_stream_is_handed_on(self) -> None:
        stream: list[ResponseItem] = [STREAM, b"a", b"b", ResponseTail({"total_tokens": 1})]
        assert await answered(*stream) == stream

    async def test_a_stream_s_head_leaves_with_its_first_piece_or_an_empty_one(self) -> None:
        go_on = asyncio.Event()

        async def answer(_: RequestHead, __: bytes) -> AsyncGenerator[ResponseItem]:
            yield STREAM
            await go_on.wait()
            yield b""
            yield b"a"

        replica = await replica_of(answer)
        async with aclosing(replica.handle(HEAD, b"{}")) as items:
            first = asyncio.create_task(anext(items))
            await asyncio.sleep(0.01)
            assert not first.done()
            go_on.set()
            assert await first == STREAM
            assert await anext(items) == b"a"

    async def test_a_stream_without_pieces_still_has_its_head(self) -> None:
        assert await answered(STREAM, ResponseTail()) == [STREAM, ResponseTail()]


@pytest.mark.parametrize(
    ("failure", "error"), [(BAD, BAD), (LOST, upstream_error())], ids=["the client's fault", "the engine's fault"]
)
class TestFailures:
    @pytest.mark.parametrize("before", [(), (STREAM,)], ids=["at once", "after the head"])
    async def test_before_the_first_piece_is_a_status(self, failure: Any, error: ApiError, before: Any) -> None:
        assert await answered(*before, failure) == [ResponseHead(error.status, error=error.to_wire())]

    @pytest.mark.parametrize("piece", [b"a", b""], ids=["a piece", "an empty piece"])
    async def test_after_it_ends_the_stream(self, failure: Any, error: ApiError, piece: bytes) -> None:
        head, *_, tail = await answered(STREAM, piece, failure)
        assert (head, tail) == (STREAM, ResponseTail(error=error.to_wire()))

    async def test_that_an_engine_reports_in_its_tail_is_the_same(self, failure: Any, error: ApiError) -> None:
        tail = ResponseTail({"total_tokens": 1}, error.to_wire())
        assert await answered(STREAM, tail) == [ResponseHead(error.status, error=error.to_wire())]
        assert await answered(STREAM, b"a", tail) == [STREAM, b"a", tail]

    async def test_only_the_engine_s_own_leads_to_a_trial(self, failure: Any, error: ApiError) -> None:
        for items in ((failure,), (STREAM, b"a", failure)):
            replica = await replica_of(answering(*items))
            await items_of(replica)
            await asyncio.sleep(0.01)
            assert engine_of(replica).trials == (2 if failure is LOST else 1)
            await replica.check_health()


class TestHealth:
    async def test_an_engine_that_fails_its_trial_too_is_replaced(self) -> None:
        replica = await replica_of(answering(LOST))
        engine_of(replica).broken = LOST
        await items_of(replica)
        await asyncio.sleep(0.01)
        with pytest.raises(EngineBrokenError):
            await replica.check_health()

    async def test_an_engine_that_knows_that_it_is_dead_says_so(self) -> None:
        replica = await replica_of()
        await replica.check_health()
        engine_of(replica).dead = LOST
        with pytest.raises(RuntimeError, match="the GPU is lost"):
            await replica.check_health()

    @pytest.mark.parametrize("failure", [LOST, upstream_error()], ids=["raised", "reported"])
    async def test_a_request_that_fails_on_a_dead_engine_ends_the_replica_without_an_answer(
        self, monkeypatch: pytest.MonkeyPatch, failure: Exception
    ) -> None:
        """Else it would fail all that come until Serve looks: a replica that fails at once has most room for more."""
        ends: list[None] = []

        class EndedError(BaseException):
            pass

        def end() -> None:
            ends.append(None)
            raise EndedError

        monkeypatch.setattr("deployments.replica.end_process", end)
        replica = await replica_of(answering(failure))
        await items_of(replica)
        assert ends == []
        engine_of(replica).dead = LOST
        with pytest.raises(EndedError):
            await anext(replica.handle(HEAD, b"{}"))
        assert len(ends) == 1

    async def test_a_replica_that_is_let_go_frees_its_engine(self) -> None:
        replica = await replica_of()
        engine = engine_of(replica)
        del replica
        assert engine.closed == 1


class TestLeaving:
    async def test_closing_the_answer_closes_the_engine_s(self) -> None:
        ended = asyncio.Event()

        async def answer(_: RequestHead, __: bytes) -> AsyncGenerator[ResponseItem]:
            try:
                yield STREAM
                while True:
                    yield b"a"
            finally:
                ended.set()

        replica = await replica_of(answer)
        items = replica.handle(HEAD, b"{}")
        await anext(items)
        assert replica.unfinished_requests() == 1
        await items.aclose()
        assert ended.is_set()
        assert replica.unfinished_requests() == 0

    async def test_what_the_engine_still_does_for_one_that_left_counts(self) -> None:
        replica = await replica_of()
        engine_of(replica).waiting = 3
        assert replica.unfinished_requests() == 3
