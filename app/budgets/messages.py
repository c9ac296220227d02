"""What a gateway replica and the budget store send each other: plain data. Times are nanoseconds.

A replica numbers its messages, counting up, so that any may be lost, repeated or overtaken on its way. Slots are
reported absolutely, each by the number of the request that took it. Settlements go in numbered batches: each is sent
until the store has acknowledged it, and the store counts it once.
"""

from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple, TypeAlias

from app.budgets.account import BudgetLimits, BudgetStatus, Debt, Refusal
from app.budgets.use import Months

SECOND = 10**9
LEASE_TIME = 10 * SECOND  # how long a lease is good after it was requested


class Amount(NamedTuple):
    """Units of an account."""

    requests: int = 0
    tokens: int = 0


class AdmissionRequest(NamedTuple):
    """Admit a request of a key, fill up the replica's lease of it, or both."""

    replica: str
    number: int
    key: str
    limits: BudgetLimits
    admit: bool  # a request waits; else only the lease is to be filled up
    tokens: int  # that the waiting request reserves
    lease: Amount | None  # what the replica has left of its lease; None: no lease is wanted


class AdmissionReply(NamedTuple):
    """The store's answer to an AdmissionRequest."""

    known: bool  # false: the replica has to join first, and nothing was done
    refusal: Refusal | None = None
    restarted: bool = False  # the store is short of units only because it restarted
    added: Amount = Amount()  # to the replica's lease
    budget_status: BudgetStatus | None = None


class Slots(NamedTuple):
    """The concurrency slots that a replica holds at this moment."""

    held: Mapping[str, Set[int]]  # key -> the numbers of the admission requests that took one
    pending: Set[int]  # admission requests that are not answered yet: each may take one


class ReturnedLease(NamedTuple):
    """A lease that a replica gives up."""

    number: int  # of the admission request that filled it up last
    left: Amount


class Settlement(NamedTuple):
    """What has become of what a replica was given, since the settlement before."""

    number: int
    unused_tokens: Mapping[str, int]  # key -> reserved and not used; below zero: used beyond the reservation
    leases: Mapping[str, ReturnedLease]


class Report(NamedTuple):
    """A replica lives, and this is how it stands. Sent every second or two, and as soon as a slot is free."""

    replica: str
    number: int
    slots: Slots
    settlement: Settlement | None


class LocalAdmission(NamedTuple):
    """A request that a replica admitted by itself while the store was unreachable."""

    number: int
    ago: int
    key: str
    tokens: int
    debt: int  # how long the replica's local share was without tokens afterwards


class Join(NamedTuple):
    """What a replica sends first, and again to a store that does not know it."""

    replica: str
    number: int
    replicas: int  # of the gateway, in all
    retires: bool  # this one is none of them
    slots: Slots
    local: Sequence[LocalAdmission]
    debts: Mapping[str, Debt]  # of accounts, as far as this replica knows; below zero: paid since


class JoinReply(NamedTuple):
    """The store's answer to a Join."""

    remembered: bool  # it had counted earlier settlements of this replica


class CountedUse(NamedTuple):
    """The use of an account as a store has counted it: of the replica that is told, and of all."""

    own: Months
    total: Months


class AccountUse(NamedTuple):
    """What one gateway replica knows of the use of an account."""

    own: Months  # what it has settled itself, since it began
    counted: CountedUse | None  # as a store last told it; None: none has yet


class UseReport(NamedTuple):
    """What a replica settled in each month. Sent every second; absolute, so any may be lost, repeated or overtaken."""

    replica: str
    use: Mapping[str, AccountUse]  # by account


class UseReply(NamedTuple):
    """What all replicas settled of the accounts of a UseReport."""

    totals: Mapping[str, Months]


Message: TypeAlias = Join | AdmissionRequest | Report | UseReport
Reply: TypeAlias = JoinReply | AdmissionReply | bool | UseReply
