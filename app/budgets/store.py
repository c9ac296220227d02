"""Every key's account, and the slices of them that ingress replicas hold. Pure: time is given, calls are plain data.

A slice is debited when it is granted. All slices of a key together never exceed 1 % of its limit a minute; so whatever
replicas do with them, and whenever, a window admits at most that much more than the account itself would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.budgets.account import Account, BudgetLimits, BudgetStatus, Refusal

SECOND = 10**9
LEASE = 10 * SECOND  # how long a slice is good after it was asked for
SESSION = 10 * SECOND  # a replica that is silent for longer is dead
OUTSTANDING_SHARE = 100  # a hundredth of a limit may be leased
# After a restart: how long the store waits for every replica to say what it holds, and how long it is short of units
# only because of the restart, so that a request had better wait than be refused.
REJOIN = 3 * SECOND
LEAN = 10 * SECOND
REJOIN_POLL = SECOND // 4


class Held(NamedTuple):
    """What is left of a slice."""

    requests: int = 0
    tokens: int = 0


class Ask(NamedTuple):
    """A replica's question about one key."""

    replica: str
    key: str
    limits: BudgetLimits
    admit: bool  # a request is waiting; else only the slice is to be filled up
    tokens: int  # that the waiting request reserves
    held: Held | None  # of its slice; None: another question about the slice is under way


class Answer(NamedTuple):
    """The budget store's answer to one."""

    known: bool  # false: the replica has to join first, and nothing was done
    refusal: Refusal | None = None
    lean: bool = False  # it is short because it restarted
    added: Held = Held()  # to the replica's slice
    budget_status: BudgetStatus | None = None


class Report(NamedTuple):
    """What a replica says every second: that it lives, and what has become of what it was given."""

    replica: str
    unused_tokens: Mapping[str, int]  # key -> reserved and not used; below zero: used beyond the reservation
    ended: Mapping[str, int]  # key -> requests that ended and had a slot
    returned: Mapping[str, Held]  # key -> what is left of a slice that is given up


class Join(NamedTuple):
    """What a replica says first, and again to a budget store that has restarted."""

    replica: str
    replicas: int  # of the ingress, in all
    under_way: Mapping[str, int]  # key -> its requests that hold a slot
    spent: Sequence[tuple[int, str, int]]  # from its local shares: nanoseconds ago, key, tokens


@dataclass(slots=True)
class Slice:
    """What a replica holds of an account, as far as the budget store knows, until `expires`."""

    held: Held
    expires: int


class BudgetStore:
    """All accounts. `fresh` is false after a restart: what was granted is not known then, so accounts begin empty."""

    def __init__(self, now: int, *, fresh: bool = True, debts: Mapping[str, Held] | None = None) -> None:
        self.began = now
        self._fresh = fresh
        # key -> what was charged, and when, to an account that is not open yet
        self._charges: dict[str, list[tuple[int, Held]]] = {key: [(now, debt)] for key, debt in (debts or {}).items()}
        self._accounts: dict[str, Account] = {}
        self._slices: dict[str, dict[str, Slice]] = {}  # key -> replica -> slice
        self._slots: dict[str, dict[str, int]] = {}  # replica -> key -> requests under way
        self._seen: dict[str, int] = {}  # replica -> when it was last heard
        self._replicas = 1
        self._rejoined = fresh

    def join(self, join: Join, now: int) -> None:
        """Take a replica in. What it spent before this store began was no part of what this store gives out."""
        self._forget(join.replica)
        self._seen[join.replica] = now
        self._replicas = join.replicas
        self._slots[join.replica] = dict(join.under_way)
        for key, count in join.under_way.items():
            if key in self._accounts:
                self._accounts[key].slots_taken += count
        for ago, key, tokens in join.spent:
            if now - ago >= self.began:
                self._charge(key, Held(1, tokens), now)

    def answer(self, ask: Ask, now: int) -> Answer:
        """Admit a request, or say why not; and fill up the replica's slice."""
        if ask.replica not in self._seen:
            return Answer(known=False)
        self._seen[ask.replica] = now
        lean = not self._fresh and now < self.began + LEAN
        if not self._has_rejoined(now):
            return Answer(known=True, refusal=Refusal("requests", REJOIN_POLL), lean=True)
        account = self._account(ask.key, ask.limits, now)
        refusal = self._admit(account, ask, now) if ask.admit else None
        added = Held() if refusal or ask.held is None else self._fill(account, ask, ask.held, now)
        return Answer(True, refusal, lean, added, account.budget_status(now))

    def report(self, report: Report, now: int) -> None:
        """Settle what a replica was given. A replica that is not known has to join first; its report is lost."""
        if report.replica not in self._seen:
            return
        self._seen[report.replica] = now
        for key, unused in report.unused_tokens.items():
            account = self._accounts.get(key)
            if account is not None and account.tokens is not None:
                account.tokens.give(unused, now)
        for key, count in report.ended.items():
            self._end(report.replica, key, count)
        for key, held in report.returned.items():
            slice_ = self._slices.get(key, {}).pop(report.replica, None)
            if slice_ is not None and now < slice_.expires:
                self._give(key, held, now)

    def sweep(self, now: int) -> None:
        """Forget replicas that are dead and slices that have expired."""
        for replica in [one for one, seen in self._seen.items() if now > seen + SESSION]:
            self._forget(replica)
        for slices in self._slices.values():
            for replica in [one for one, slice_ in slices.items() if now >= slice_.expires]:
                del slices[replica]

    def debts(self, now: int) -> dict[str, Held]:
        """What keys owe: all that a restart has to remember."""
        found = {}
        for key, account in self._accounts.items():
            tokens = account.tokens.whole(now) if account.tokens is not None else 0
            owed = Held(max(0, -account.requests.whole(now)), max(0, -tokens))
            if any(owed):
                found[key] = owed
        unopened = {key: _sum(*(spent for _, spent in charges)) for key, charges in self._charges.items()}
        return unopened | found

    def under_way(self) -> int:
        """Requests that hold a slot."""
        return sum(account.slots_taken for account in self._accounts.values())

    def outstanding(self, key: str, now: int) -> Held:
        """What replicas may still spend of slices."""
        held = [one.held for one in self._slices.get(key, {}).values() if now < one.expires]
        return Held(sum(one.requests for one in held), sum(one.tokens for one in held))

    def _has_rejoined(self, now: int) -> bool:
        if not self._rejoined:
            self._rejoined = len(self._seen) >= self._replicas or now >= self.began + REJOIN
        return self._rejoined

    def _account(self, key: str, limits: BudgetLimits, now: int) -> Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account.open(limits, self.began, empty=not self._fresh)
            account.slots_taken = sum(slots.get(key, 0) for slots in self._slots.values())
            for at, spent in self._charges.pop(key, ()):
                self._charge(key, spent, at)
        account.change(limits, now)
        return account

    def _charge(self, key: str, spent: Held, now: int) -> None:
        if key in self._accounts:
            self._give(key, Held(-spent.requests, -spent.tokens), now)
        else:
            self._charges.setdefault(key, []).append((now, spent))

    def _admit(self, account: Account, ask: Ask, now: int) -> Refusal | None:
        refusal = account.admit(ask.tokens, now)
        if refusal is None and account.limits.slots is not None:
            slots = self._slots[ask.replica]
            slots[ask.key] = slots.get(ask.key, 0) + 1
        return refusal

    def _fill(self, account: Account, ask: Ask, held: Held, now: int) -> Held:
        """Grant what the slice lacks and the account has, and remember the slice."""
        slices = self._slices.setdefault(ask.key, {})
        slices.pop(ask.replica, None)
        others = self.outstanding(ask.key, now)
        requests, tokens = account.requests, account.tokens
        added = Held(
            self._grant(account.limits.requests, held.requests, others.requests, requests.whole(now)),
            0 if tokens is None else self._grant(tokens.per_minute, held.tokens, others.tokens, tokens.whole(now)),
        )
        if account.limits.slots is not None:
            added = Held()  # a slot is asked for each time, so nothing is gained by a slice
        if any(added):
            requests.take(added.requests, now)
            if tokens is not None:
                tokens.take(added.tokens, now)
        total = _sum(held, added)
        if any(total):
            slices[ask.replica] = Slice(total, now + LEASE)
        return added

    def _grant(self, limit: int, held: int, others: int, there: int) -> int:
        share = limit // (OUTSTANDING_SHARE * self._replicas)
        left = limit // OUTSTANDING_SHARE - others
        return max(0, min(share - held, left - held, there))

    def _give(self, key: str, amount: Held, now: int) -> None:
        account = self._accounts[key]
        account.requests.give(amount.requests, now)
        if account.tokens is not None:
            account.tokens.give(amount.tokens, now)

    def _forget(self, replica: str) -> None:
        """Give back the slots of a replica that is dead, or that will say anew what it holds."""
        self._seen.pop(replica, None)
        for key, count in dict(self._slots.get(replica, {})).items():
            self._end(replica, key, count)
        self._slots.pop(replica, None)

    def _end(self, replica: str, key: str, count: int) -> None:
        slots = self._slots.get(replica, {})
        ended = min(count, slots.get(key, 0))
        if ended:
            slots[key] -= ended
            if not slots[key]:
                del slots[key]
            if key in self._accounts:
                self._accounts[key].slots_taken -= ended


def slice_is_worth(limits: BudgetLimits, replicas: int) -> bool:
    """Whether a replica can hold a slice at all; a small limit is asked for each time."""
    return limits.slots is None and limits.requests >= OUTSTANDING_SHARE * replicas


def _sum(*all_held: Held) -> Held:
    return Held(sum(one.requests for one in all_held), sum(one.tokens for one in all_held))
