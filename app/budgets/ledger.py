"""What a gateway replica has to report to the budget store."""

from collections import defaultdict

from app.budgets.messages import ReturnedLease, Settlement, Slots


class Ledger:
    """The slots that a replica holds, and what is to be settled. Its numbers only grow."""

    def __init__(self) -> None:
        self._number = 0
        self._slots: defaultdict[str, set[int]] = defaultdict(set)  # key -> numbers of the requests that took one
        self._pending: set[int] = set()
        self._unused: defaultdict[str, int] = defaultdict(int)  # tokens to settle, by key
        self.sent: Settlement | None = None  # sent again as it is, until it is acknowledged
        self.uncertain = False  # whether it may have arrived

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def ask(self) -> int:
        """The number of an admission request that is about to be sent."""
        number = self.next_number()
        self._pending.add(number)
        return number

    def answered(self, number: int) -> None:
        """The request was answered, or is given up: if it holds a slot after all, the next report frees it."""
        self._pending.discard(number)

    def hold(self, key: str, number: int) -> None:
        self._slots[key].add(number)

    def free(self, key: str, number: int) -> None:
        self._slots[key].discard(number)
        if not self._slots[key]:
            del self._slots[key]

    def held(self, key: str) -> int:
        return len(self._slots.get(key, ()))

    def slots(self) -> Slots:
        return Slots({key: frozenset(held) for key, held in self._slots.items()}, frozenset(self._pending))

    def settle(self, key: str, unused: int) -> None:
        self._unused[key] += unused

    def close_settlement(self, leases: dict[str, ReturnedLease]) -> None:
        """Put all that is to be settled in a settlement, if there is anything."""
        unused = {key: tokens for key, tokens in self._unused.items() if tokens}
        self._unused.clear()
        if unused or leases:
            self.sent = Settlement(self.next_number(), unused, leases)

    def is_settled(self) -> bool:
        return not (self._slots or self._pending or self._unused or self.sent)
