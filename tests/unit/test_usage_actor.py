"""The usage ledger's actor and the way to it, without Ray."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayTaskError

from app import own_node
from app.config.usage import UsageSettings
from app.usage import actor
from app.usage.actor import ActorLink, UsageLedgerActor, actor_name
from app.usage.link import Batch, LedgerBusyError, LedgerUnreachableError
from app.usage.question import Question
from app.usage.store import opened
from tests.postgresql import PostgreSQL
from tests.usage_rows import NOON, row, server, settings

__all__ = ["server", "settings"]

EVERYTHING = Question((), NOON - timedelta(days=30), NOON + timedelta(days=30), {})


@pytest.fixture(autouse=True)
def _no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_node, "is_draining", lambda: False)


def ledger_of(settings: UsageSettings) -> UsageLedgerActor:
    return UsageLedgerActor(settings.model_dump(mode="json"))


async def requests_in(ledger: UsageLedgerActor) -> int:
    return (await ledger.ask(EVERYTHING))[0].requests


class TestActor:
    async def test_writes_and_answers(self, settings: UsageSettings) -> None:
        ledger = ledger_of(settings)
        assert await ledger.write("one", 0, [row(), row()]) == 0
        assert await requests_in(ledger) == 2

    async def test_after_a_restart_a_batch_that_is_sent_again_is_counted_once(self, settings: UsageSettings) -> None:
        rows = [row(), row()]
        await ledger_of(settings).write("one", 0, rows)
        again = ledger_of(settings)
        await again.write("one", 0, rows)
        assert await requests_in(again) == 2

    async def test_a_sign_of_life_needs_no_database(self) -> None:
        ledger = ledger_of(UsageSettings(database="sqlite:////no/such/folder/usage.db"))
        assert await ledger.write("one", 0, []) == 0

    async def test_a_database_that_is_away_is_said_once_and_used_again_when_it_is_back(
        self, server: PostgreSQL, caplog: pytest.LogCaptureFixture
    ) -> None:
        ledger = ledger_of(UsageSettings(database=server.new_database()))
        await ledger.write("one", 0, [row()])
        server.stop()
        try:
            for _ in range(3):
                with pytest.raises(LedgerUnreachableError):
                    await ledger.write("one", 1, [row()])
        finally:
            server.start()
        await ledger.write("one", 1, [row()])
        assert await requests_in(ledger) == 2
        away, back = (record.message for record in caplog.records if record.name == "portico.usage")
        assert away.startswith("the usage database does not answer: ")
        assert back == "the usage database answers again"

    async def test_a_url_that_changes_in_its_file_is_followed_where_the_database_is_away(
        self, server: PostgreSQL, tmp_path: Path
    ) -> None:
        """As where its password does."""
        file = tmp_path / "url"
        file.write_text("postgresql://nobody@/nothing?host=/no/such")
        ledger = ledger_of(UsageSettings(database_file=str(file)))
        with pytest.raises(LedgerUnreachableError):
            await ledger.write("one", 0, [row()])
        file.write_text(server.new_database())
        assert await ledger.write("one", 0, [row()]) == 0

    async def test_answers_few_questions_at_once_and_writes_meanwhile(
        self, settings: UsageSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger = ledger_of(settings)
        await ledger.write("one", 0, [row()])
        may_answer = threading.Event()
        monkeypatch.setattr(type(ledger._store), "sums", lambda *_: may_answer.wait(30))
        most = actor.QUESTIONS_AT_ONCE + actor.QUESTIONS_WAITING
        asked = [asyncio.create_task(ledger.ask(EVERYTHING)) for _ in range(most)]
        await asyncio.sleep(0)
        with pytest.raises(LedgerBusyError):
            await ledger.ask(EVERYTHING)
        assert await ledger.write("one", 1, [row()]) == 0
        may_answer.set()
        await asyncio.gather(*asked)
        assert await ledger.ask(EVERYTHING)

    async def test_deletes_what_is_older_than_it_is_to_be(
        self, settings: UsageSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(actor, "FIRST_RETENTION_SECONDS", 0)
        now = datetime.now(UTC)
        store = opened(settings)
        ages = (1, 29, 31, 400)
        store.write("one", 0, [row(time=(now - timedelta(days=age)).timestamp()) for age in ages])
        ledger = ledger_of(settings.model_copy(update={"retention_days": 30}))
        await ledger.write("two", 0, [])
        question = Question((), now - timedelta(days=500), now, {})
        async with asyncio.timeout(30):
            while store.sums(question)[0].requests > 2:
                await asyncio.sleep(0.05)
        assert store.sums(question._replace(since=now - timedelta(days=30)))[0].requests == 2
        store.close()

    async def test_ends_where_nobody_calls_it_any_more(
        self, settings: UsageSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended = asyncio.Event()
        monkeypatch.setattr(ray, "get_runtime_context", lambda: type("Context", (), {"current_actor": None}))
        monkeypatch.setattr(ray, "kill", lambda _: ended.set())
        monkeypatch.setattr(actor, "UNCALLED_SECONDS", 0)
        await ledger_of(settings).write("one", 0, [])
        await asyncio.wait_for(ended.wait(), 10)


class Handle:
    """An actor's handle, whose every method does the same."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self.write = self.ask = self.spent = self
        self.remote = call


def link_to(call: Callable[..., Awaitable[Any]]) -> ActorLink:
    link = ActorLink(UsageSettings())
    link._actor = Handle(call)
    return link


class TestLink:
    async def test_rows_go_as_plain_tuples_which_ray_pickles_at_once(self) -> None:
        sent: list[tuple[Any, ...]] = []

        async def call(*arguments: Any) -> int:
            sent.append(arguments)
            return 0

        await link_to(call).write(Batch("one", 3, [row(), row()]))
        assert sent == [("one", 3, [tuple(row())] * 2)]
        assert {type(one) for one in sent[0][2]} == {tuple}

    @pytest.mark.parametrize("error", [asyncio.CancelledError(), TimeoutError(), ValueError()], ids=repr)
    async def test_whatever_a_call_raises_the_ledger_is_unreachable(self, error: BaseException) -> None:
        """Ray raises CancelledError for a call that it has lost."""

        async def call(*_: Any) -> Any:
            raise error

        with pytest.raises(LedgerUnreachableError):
            await link_to(call).write(Batch("one", 0, []))

    @pytest.mark.parametrize("error", [LedgerBusyError(), LedgerUnreachableError("OperationalError")], ids=repr)
    async def test_what_the_actor_says_comes_back(self, error: Exception) -> None:
        async def call(*_: Any) -> Any:
            raise RayTaskError("ask", "a traceback", error).as_instanceof_cause()

        with pytest.raises(type(error)) as caught:
            await link_to(call).ask(EVERYTHING)
        assert type(caught.value) is type(error)

    async def test_who_is_cancelled_stays_cancelled(self) -> None:
        async def call(*_: Any) -> Any:
            await asyncio.Event().wait()

        task = asyncio.create_task(link_to(call).write(Batch("one", 0, [])))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_starts_no_ray(self) -> None:
        assert not ray.is_initialized()
        with pytest.raises(LedgerUnreachableError, match="Ray does not run"):
            await ActorLink(UsageSettings()).write(Batch("one", 0, []))
        assert not ray.is_initialized()

    def test_other_settings_are_another_actor(self) -> None:
        one, same, other = (UsageSettings(retention_days=days) for days in (30, 30, 60))
        assert actor_name(one) == actor_name(same) != actor_name(other)
