"""The leases that the budget store has granted of one key."""

from typing import NamedTuple

from app.budgets.messages import Amount


class Lease(NamedTuple):
    """What a replica holds of an account, as far as the store knows, until `expires`."""

    number: int  # of the admission request that filled it up
    amount: Amount
    expires: int


class GrantedLeases:
    """Each replica's lease. They are granted for the same time, so the oldest expires first."""

    __slots__ = ("_leases", "_requests", "_tokens")

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}  # by replica, in the order in which they were granted
        self._requests = 0
        self._tokens = 0

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, replica: str) -> Lease | None:
        return self._leases.get(replica)

    def put(self, replica: str, lease: Lease) -> None:
        """`lease` expires after all others; the replica holds none yet."""
        self._leases[replica] = lease
        self._requests += lease.amount.requests
        self._tokens += lease.amount.tokens

    def drop(self, replica: str) -> None:
        lease = self._leases.pop(replica, None)
        if lease is not None:
            self._requests -= lease.amount.requests
            self._tokens -= lease.amount.tokens

    def left(self, now: int) -> Amount:
        """What replicas may still spend of their leases; those that have expired are forgotten."""
        while self._leases:
            replica, lease = next(iter(self._leases.items()))
            if now < lease.expires:
                break
            self.drop(replica)
        return Amount(self._requests, self._tokens)
