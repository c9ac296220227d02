"""The budgets of all keys in several budget stores: the account of each key is in one of them."""

import asyncio
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from app.budgets.account import BudgetLimits, BudgetStatus
from app.budgets.leased import LeasedAdmission, LeasedBudgets

REPLICAS_PER_SHARD = 50  # measured: benchmarks/budget_scale.py


class Shard(NamedTuple):
    """One of `number` budget stores, counted from zero."""

    place: int = 0
    number: int = 1

    def has(self, key: str) -> bool:
        """Whether the account of this key is here: the same in every process, for as long as the number is."""
        return place_of(key, self.number) == self.place

    def name(self, base: str) -> str:
        """The name of what belongs to this shard, made of the name that it has where there is only one."""
        return base if self.number == 1 else f"{base}.{self.place}-of-{self.number}"

    @staticmethod
    def is_name(name: str, base: str) -> bool:
        """Whether it is that of a shard, of any number of them."""
        return name.startswith(base) and re.fullmatch(r"\.\d+-of-\d+", name[len(base) :]) is not None


ONLY = Shard()


def shards(replicas: int, number: int | None) -> list[Shard]:
    """As many as are wanted, or as serve that many gateway replicas."""
    number = number or -(-replicas // REPLICAS_PER_SHARD)
    return [Shard(place, number) for place in range(number)]


class ShardedBudgets:
    """One replica's view of all budgets: each shard is joined, leased from, and unreachable by itself."""

    def __init__(self, parts: Sequence[LeasedBudgets]) -> None:
        """`parts` are in the order of their shards. Each has to be kept by itself: one that fails is no other's
        trouble.
        """
        self.parts = parts

    def admit(self, key: str, limits: BudgetLimits, tokens: int) -> LeasedAdmission:
        return self._part(key).admit(key, limits, tokens)

    def budget_status(self, key: str, limits: BudgetLimits) -> BudgetStatus:
        return self._part(key).budget_status(key, limits)

    @property
    def store_unreachable(self) -> bool:
        """Whether the last call of any shard did not reach it."""
        return any(part.store_unreachable for part in self.parts)

    def retire(self) -> None:
        for part in self.parts:
            part.retire()

    async def close(self) -> None:
        await asyncio.gather(*(part.close() for part in self.parts))

    def _part(self, key: str) -> LeasedBudgets:
        return self.parts[place_of(key, len(self.parts))]


def place_of(key: str, number: int) -> int:
    """The shard of `number` that the account of a key, or of a team, is in."""
    return zlib.crc32(key.encode()) % number
