"""Which replica has seen which beginning of a conversation, and which one a request should go to therefore."""

import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from app.upstream.rendezvous import weight

Replica = TypeVar("Replica")

USUAL_MAX_IMBALANCE = 8
USUAL_REMEMBERED_BLOCKS = 65536
REPLICAS_PER_BLOCK = 4  # that are remembered, the latest
# A replica that knows less of a prompt than this saves little: a system prompt that everybody shares would draw all
# conversations to one replica.
LEAST_SHARE = 0.5


class PrefixMap(Generic[Replica]):
    """A bounded memory of prompts' blocks, the one used longest ago forgotten first, and the choice by it.

    A prompt is what `app.upstream.affinity.prefix_of` makes of it: the digest of its opening, then those of its blocks.
    """

    def __init__(
        self, max_imbalance: int = USUAL_MAX_IMBALANCE, remembered_blocks: int = USUAL_REMEMBERED_BLOCKS
    ) -> None:
        self._max_imbalance = max_imbalance
        self._remembered_blocks = remembered_blocks
        self._seen: OrderedDict[int, tuple[Replica, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def learn(self, prefix: Sequence[int], replica: Replica) -> None:
        """`replica` has got a prompt: it will know its blocks."""
        for block in prefix[1:]:
            others = (one for one in self._seen.get(block, ()) if one != replica)
            self._seen[block] = (replica, *others)[:REPLICAS_PER_BLOCK]
            self._seen.move_to_end(block)
        while len(self._seen) > self._remembered_blocks:
            self._seen.popitem(last=False)

    def choose(self, prefix: Sequence[int], loads: Mapping[Replica, int]) -> Replica | None:
        """The replica for a prompt among those of `loads` (requests under way); none: by load alone.

        The one that knows the longest beginning; for a conversation that is new here, the one that its opening falls
        to, which is the same in every gateway. But neither where it is busier than the least busy by too much, and none
        where the prompt fills no block: nothing of it would be found again.
        """
        if len(prefix) < 2 or not loads:
            return None
        least = min(loads.values())
        fitting = {one for one, load in loads.items() if load - least <= self._max_imbalance}
        knowing = self._longest(prefix[1:], loads)
        if knowing:
            chosen = min(knowing, key=lambda one: (loads[one], knowing.index(one)))
        else:
            chosen = max(loads, key=lambda one: weight(prefix[0], one))
        return chosen if chosen in fitting else None

    def _longest(self, blocks: Sequence[int], loads: Mapping[Replica, int]) -> list[Replica]:
        """Those that know the longest beginning, if it is long enough; the latest first."""
        for index in range(len(blocks) - 1, -1, -1):
            if (index + 1) < LEAST_SHARE * len(blocks):
                break
            if found := [one for one in self._seen.get(blocks[index], ()) if one in loads]:
                return found
        return []


def two_of(replicas: Sequence[Replica]) -> list[Replica]:
    """Two of them at random, for the choice of the less busy."""
    return random.sample(replicas, min(2, len(replicas)))
