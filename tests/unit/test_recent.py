"""A value that is looked at rarely: calls that come together, or soon after, cause one look."""

import asyncio
from typing import Any

import pytest

from app.background.recent import Recent


class Looks:
    """Gives what is there, one after the other."""

    def __init__(self, *values: int | Exception) -> None:
        self._values = list(values)
        self.count = 0

    async def __call__(self) -> Any:
        self.count += 1
        await asyncio.sleep(0)
        value: Any = self._values.pop(0)
        if isinstance(value, Exception):
            raise value
        return value


async def test_calls_at_once_and_soon_after_cause_one_look() -> None:
    looks = Looks(1)
    recent = Recent(looks, fresh_s=60)
    assert list(await asyncio.gather(recent.get(), recent.get())) == [1, 1]
    assert await recent.get() == 1
    assert looks.count == 1


async def test_what_is_no_longer_fresh_is_looked_at_anew() -> None:
    recent = Recent(Looks(1, 2), fresh_s=0)
    assert (await recent.get(), await recent.get()) == (1, 2)


async def test_a_failed_look_is_not_repeated_at_once() -> None:
    looks = Looks(ValueError("no"), 2)
    recent = Recent(looks, fresh_s=60)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await recent.get()
    assert looks.count == 1


async def test_who_leaves_does_not_end_the_look_of_others() -> None:
    recent = Recent(Looks(1), fresh_s=60)
    leaves, stays = asyncio.ensure_future(recent.get()), asyncio.ensure_future(recent.get())
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays == 1
