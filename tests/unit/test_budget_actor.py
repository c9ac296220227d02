"""The budget store's actor and the way to it, without Ray."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.budgets.actor import ActorLink
from app.budgets.messages import Report, Slots
from app.budgets.store_link import StoreUnreachableError

NOTHING = Slots({}, frozenset())


class Handle:
    """An actor's handle."""

    def __init__(self, deliver: Callable[[Any], Awaitable[Any]]) -> None:
        self.deliver = self
        self.remote = deliver


class OldHandle:
    """That of an actor without such a method."""


def report(replica: str = "one", number: int = 1) -> Report:
    return Report(replica, number, NOTHING, None)


class TestLink:
    @pytest.mark.parametrize("error", [asyncio.CancelledError(), AttributeError(), TypeError()], ids=repr)
    async def test_whatever_a_call_raises_the_store_is_unreachable(self, error: BaseException) -> None:
        """Ray raises CancelledError for a call that it has lost."""
        errors = [error]

        async def deliver(messages: Any) -> Any:
            if errors:
                raise errors.pop()
            return [True for _ in messages]

        link = ActorLink("budgets.json")
        link._actor = Handle(deliver)
        with pytest.raises(StoreUnreachableError):
            await asyncio.wait_for(link.report(report()), 5)
        assert await asyncio.wait_for(link.report(report()), 5)

    async def test_an_actor_of_another_kind_is_unreachable(self) -> None:
        link = ActorLink("budgets.json")
        link._actor = OldHandle()
        with pytest.raises(StoreUnreachableError):
            await asyncio.wait_for(link.report(report()), 5)

    async def test_who_is_cancelled_stays_cancelled(self) -> None:
        async def deliver(_: Any) -> Any:
            await asyncio.Event().wait()

        link = ActorLink("budgets.json")
        link._actor = Handle(deliver)
        task = asyncio.create_task(link._deliver([report()]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
