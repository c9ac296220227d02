"""Every key's account, and the leases of them that gateway replicas hold. Pure: time is given, calls are plain data.

A lease is debited when it is granted. All leases of a key together never exceed 1 % of its limit a minute; so whatever
replicas do with them, and whenever, a window admits at most that much more than the account itself would.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.budgets.account import Account, BudgetLimits, Debt, Refusal
from app.budgets.granted import GrantedLeases, Lease
from app.budgets.messages import (
    LEASE_TIME,
    SECOND,
    AdmissionReply,
    AdmissionRequest,
    Amount,
    Join,
    JoinReply,
    LocalAdmission,
    Message,
    Reply,
    Report,
    Settlement,
    Slots,
    UseReport,
)
from app.budgets.monthly_use import MonthlyUse

ALIVE_TIME = 10 * SECOND  # a replica that is silent for longer is dead, and holds no slot
MEMORY = 600 * SECOND  # for how long settlements of a silent replica stay known, so that none is counted twice
LEASED_SHARE = 100  # a hundredth of a limit may be leased
# After a restart: how long the store waits for every replica to say what it holds, and how long it is short of units
# only because of the restart, so that a request had better wait than be refused.
REJOIN_TIME = 3 * SECOND
SHORT_TIME = 10 * SECOND
REJOIN_POLL = SECOND // 4


@dataclass(slots=True)
class Member:
    """A gateway replica as the store knows it."""

    seen: int  # when it was last heard
    serves: bool  # one of the replicas that take requests; false: it retires
    reported: int = 0  # number of the newest report
    settled: int = 0  # number of the newest settlement that was counted
    charged: int = 0  # number of the newest local admission that was counted
    slots: dict[str, set[int]] = field(default_factory=dict)  # key -> numbers of the admission requests that took one

    def alive(self, now: int) -> bool:
        return now <= self.seen + ALIVE_TIME

    def hear(self, number: int, slots: Slots) -> bool:
        """Take over the slots of a report; False where a newer one has come before.

        Slots that were granted to requests whose answer was still under way, or that are newer, stay.
        """
        if number <= self.reported:
            return False
        unheard = {
            key: {one for one in granted if one > number or one in slots.pending} for key, granted in self.slots.items()
        }
        self.slots = {key: set(held) for key, held in slots.held.items() if held}
        for key, granted in unheard.items():
            if granted:
                self.slots.setdefault(key, set()).update(granted)
        self.reported = number
        return True


class BudgetStore:
    """All accounts. `fresh` is false after a restart: what was granted is not known then, so accounts begin empty."""

    def __init__(
        self,
        now: int,
        *,
        fresh: bool = True,
        debts: Mapping[str, Debt] | None = None,
        monthly_use: MonthlyUse | None = None,
    ) -> None:
        self.began = now
        self.monthly_use = monthly_use or MonthlyUse()
        self._fresh = fresh
        self._debts: dict[str, Debt] = dict(debts or {})  # of accounts as this store began
        self._charges: dict[str, list[tuple[int, Amount]]] = {}  # key -> what, and when, to an account not open yet
        self._accounts: dict[str, Account] = {}
        self._overdrawn: set[str] = set()  # accounts that may be in debt
        self._leases: dict[str, GrantedLeases] = {}  # by key
        self._expiring: deque[tuple[int, str]] = deque()  # when a lease expires, and of which key it is
        self._members: dict[str, Member] = {}  # by replica
        self._slot_holders: dict[str, set[str]] = {}  # key -> the replicas that hold slots of it
        self._replicas = 1
        self._rejoined = fresh
        self._retires = False  # whether any replica has retired

    def join(self, join: Join, now: int) -> JoinReply:
        """Take a replica in. What it admitted before this store began was no part of what this store gives out, so
        only the debts from then count.
        """
        member = self._members.get(join.replica)
        remembered = member is not None
        if member is None:
            member = self._members[join.replica] = Member(now, serves=True)
        member.seen = now
        if self._hear(join.replica, member, join.number, join.slots):
            member.serves = not join.retires
            self._retires = self._retires or join.retires
            self._replicas = self._replicas if join.retires else join.replicas
        if not remembered:  # else this store knows the debts itself
            for key, debt in join.debts.items():
                self._learn_debt(key, debt.later(self.began - now))
        for one in join.local:
            if one.number > member.charged:
                member.charged = one.number
                self._charge_local(one, join.replicas, now)
        return JoinReply(remembered)

    def admit(self, request: AdmissionRequest, now: int) -> AdmissionReply:
        """Admit a request, or say why not; and fill up the replica's lease."""
        member = self._members.get(request.replica)
        if member is None or not member.alive(now):
            return AdmissionReply(known=False)
        member.seen = now
        restarted = not self._fresh and now < self.began + SHORT_TIME
        if not self._has_rejoined(now):
            return AdmissionReply(known=True, refusal=Refusal("requests", REJOIN_POLL), restarted=True)
        account = self._account(request.key, request.limits, now)
        refusal = self._admit(account, request, member, now) if request.admit else None
        added = Amount() if refusal or request.lease is None else self._fill(account, request, request.lease, now)
        return AdmissionReply(True, refusal, restarted, added, account.budget_status(now))

    def report(self, report: Report, now: int) -> bool:
        """Take over what a replica holds and settle what it was given; False where it has to join first."""
        member = self._members.get(report.replica)
        if member is None or not member.alive(now):
            return False
        member.seen = now
        self._hear(report.replica, member, report.number, report.slots)
        if report.settlement is not None and report.settlement.number > member.settled:
            member.settled = report.settlement.number
            self._settle(report.replica, report.settlement, now)
        return True

    def handle(self, message: Message, now: int) -> Reply:
        """The reply to any message."""
        match message:
            case AdmissionRequest():
                return self.admit(message, now)
            case Report():
                return self.report(message, now)
            case Join():
                return self.join(message, now)
            case UseReport():
                return self.monthly_use.exchange(message, now)

    def sweep(self, now: int) -> None:
        """Forget replicas that are long dead and leases that have expired."""
        self.monthly_use.sweep(now)
        for replica in [name for name, member in self._members.items() if now > member.seen + MEMORY]:
            self._follow_slots(replica, self._members.pop(replica).slots, {})
        while self._expiring and self._expiring[0][0] <= now:
            _, key = self._expiring.popleft()
            if key in self._leases and not any(self._leases[key].left(now)):
                del self._leases[key]

    def debts(self, now: int) -> dict[str, Debt]:
        """Accounts that are overdrawn: all that a restart has to remember."""
        unopened = {
            key: debt.later(now - self.began).owed() for key, debt in self._debts.items() if key not in self._accounts
        }
        found = unopened | {key: self._accounts[key].debt(now) for key in self._overdrawn}
        owed = {key: debt for key, debt in found.items() if any(debt)}
        self._overdrawn &= owed.keys()
        return owed

    def slots_held(self, now: int) -> int:
        """Concurrency slots that are taken, of all keys."""
        return sum(len(slots) for one in self._members.values() if one.alive(now) for slots in one.slots.values())

    def leased(self, key: str, now: int) -> Amount:
        """What replicas may still spend of their leases."""
        return self._leases[key].left(now) if key in self._leases else Amount()

    def is_forgotten(self, now: int) -> bool:
        """Whether no replica was heard for so long that a new store would know as much."""
        is_needed = self._members or self.monthly_use.is_needed() or self.debts(now)
        return not is_needed and now > self.began + MEMORY

    def was_left(self, join: Join, now: int) -> bool:
        """Whether this new replica finds none that serves here, as they went elsewhere: to another number of stores,
        which know what this one does not.
        """
        if join.retires or not self._retires or join.replica in self._members:
            return False
        return not any(member.serves and member.alive(now) for member in self._members.values())

    def _hear(self, replica: str, member: Member, number: int, slots: Slots) -> bool:
        before = member.slots
        if not member.hear(number, slots):
            return False
        self._follow_slots(replica, before, member.slots)
        return True

    def _follow_slots(self, replica: str, before: Mapping[str, set[int]], after: Mapping[str, set[int]]) -> None:
        for key in before.keys() - after.keys():
            holders = self._slot_holders[key]
            holders.discard(replica)
            if not holders:
                del self._slot_holders[key]
        for key in after.keys() - before.keys():
            self._slot_holders.setdefault(key, set()).add(replica)

    def _has_rejoined(self, now: int) -> bool:
        if not self._rejoined:
            serving = sum(member.serves for member in self._members.values())
            self._rejoined = serving >= self._replicas or now >= self.began + REJOIN_TIME
        return self._rejoined

    def _account(self, key: str, limits: BudgetLimits, now: int) -> Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account.open(limits, self.began, empty=not self._fresh)
            account.defer(self._debts.get(key, Debt()))
            for at, amount in self._charges.pop(key, ()):
                account.give(-amount.requests, -amount.tokens, at)
            self._note_debt(key, account)
        account.change(limits, now)
        return account

    def _learn_debt(self, key: str, debt: Debt) -> None:
        """A replica knows of a debt as this store began; others may have reported the same."""
        before = self._debts.get(key, Debt())
        self._add_debt(key, Debt(debt.requests - before.requests, debt.tokens - before.tokens).owed())

    def _add_debt(self, key: str, more: Debt) -> None:
        before = self._debts.get(key, Debt())
        self._debts[key] = Debt(before.requests + more.requests, before.tokens + more.tokens)
        if key in self._accounts:
            self._accounts[key].defer(more)
            self._note_debt(key, self._accounts[key])

    def _note_debt(self, key: str, account: Account) -> None:
        if account.is_overdrawn():
            self._overdrawn.add(key)

    def _charge_local(self, local: LocalAdmission, replicas: int, now: int) -> None:
        before = self.began - (now - local.ago)  # how long before this store
        if before <= 0:
            self._charge(local.key, Amount(1, local.tokens), now)
        elif local.debt > before:  # the share gained its part of the limit only
            self._add_debt(local.key, Debt(0, -(-(local.debt - before) // replicas)))

    def _charge(self, key: str, amount: Amount, now: int) -> None:
        if key in self._accounts:
            self._accounts[key].give(-amount.requests, -amount.tokens, now)
            self._note_debt(key, self._accounts[key])
        else:
            self._charges.setdefault(key, []).append((now, amount))

    def _settle(self, replica: str, settlement: Settlement, now: int) -> None:
        for key, unused in settlement.unused_tokens.items():
            self._charge(key, Amount(0, -unused), now)
        for key, returned in settlement.leases.items():
            leases = self._leases.get(key)
            lease = None if leases is None else leases.get(replica)
            if leases is not None and lease is not None and lease.number == returned.number:
                leases.drop(replica)
                if now < lease.expires:
                    self._charge(key, Amount(-returned.left.requests, -returned.left.tokens), now)

    def _admit(self, account: Account, request: AdmissionRequest, member: Member, now: int) -> Refusal | None:
        if account.limits.slots is not None:
            account.slots_taken = self._slots_taken(request.key, now)
        refusal = account.admit(request.tokens, now)
        if refusal is None:
            self._note_debt(request.key, account)
            if account.limits.slots is not None:
                member.slots.setdefault(request.key, set()).add(request.number)
                self._slot_holders.setdefault(request.key, set()).add(request.replica)
        return refusal

    def _slots_taken(self, key: str, now: int) -> int:
        holders = (self._members[replica] for replica in self._slot_holders.get(key, ()))
        return sum(len(one.slots[key]) for one in holders if one.alive(now))

    def _fill(self, account: Account, request: AdmissionRequest, left: Amount, now: int) -> Amount:
        """Grant what the replica's lease lacks and the account has, and remember the lease."""
        leases = self._leases.setdefault(request.key, GrantedLeases())
        leases.drop(request.replica)
        others = self.leased(request.key, now)
        requests, tokens = account.requests, account.tokens
        added = Amount(
            self._grant(account.limits.requests, left.requests, others.requests, requests.whole(now)),
            0 if tokens is None else self._grant(tokens.per_minute, left.tokens, others.tokens, tokens.whole(now)),
        )
        if account.limits.slots is not None:
            added = Amount()  # every slot is requested by itself, so nothing is gained by a lease
        if any(added):
            account.give(-added.requests, -added.tokens, now)
        total = Amount(left.requests + added.requests, left.tokens + added.tokens)
        if any(total):
            leases.put(request.replica, Lease(request.number, total, now + LEASE_TIME))
            self._expiring.append((now + LEASE_TIME, request.key))
        return added

    def _grant(self, limit: int, left: int, others: int, available: int) -> int:
        share = limit // (LEASED_SHARE * self._replicas)
        room = limit // LEASED_SHARE - others
        return max(0, min(share - left, room - left, available))


def lease_is_worthwhile(limits: BudgetLimits, replicas: int) -> bool:
    """Whether a replica can hold a lease at all; with a small limit every request is sent to the store."""
    return limits.slots is None and limits.requests >= LEASED_SHARE * replicas
