"""What all gateway replicas have settled of each account in a month: a part of the budget store. Pure, as that is.

A replica reports what it settled since it began, not what is new: so a report may be lost, repeated or overtaken, and
one that comes to a store with an older snapshot makes up for all that this lacks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.budgets.messages import SECOND, UseReply, UseReport
from app.budgets.use import Month, Months, Use, drop_old

Accounts = dict[str, dict[Month, Use]]  # by account

MEMORY = 24 * 3600 * SECOND  # for how long what a silent replica settled is known as its own


@dataclass(slots=True)
class UseState:
    """All that has to outlive the store."""

    totals: Accounts = field(default_factory=dict)
    replicas: dict[str, Accounts] = field(default_factory=dict)  # what of the totals each settled


class MonthlyUse:
    """The totals, and what each replica has a part in them."""

    def __init__(self, state: UseState | None = None, now: int = 0) -> None:
        self.state = state or UseState()
        self.changed = False  # since the last snapshot
        self._heard = dict.fromkeys(self.state.replicas, now)

    def exchange(self, report: UseReport, now: int) -> UseReply:
        """Count what a replica has settled, and say what all have."""
        is_known = report.replica in self.state.replicas
        before = self.state.replicas.setdefault(report.replica, {})
        self._heard[report.replica] = now
        for account, use in report.use.items():
            counted = before.setdefault(account, {})
            if not is_known and use.counted is not None:  # by a store whose last snapshot did not have it
                self._raise(account, use.counted.total)
                counted.update(use.counted.own)
            self._count(account, use.own, counted)
        return UseReply({account: dict(self.state.totals.get(account, {})) for account in report.use})

    def restore(self, found: UseState, now: int) -> None:
        """Take over a snapshot, of which reports may have been counted again since this store began."""
        for account, months in found.totals.items():
            totals = self.state.totals.setdefault(account, {})
            for month, use in months.items():
                for replica, accounts in self.state.replicas.items():
                    known = found.replicas.get(replica, {}).get(account, {}).get(month, Use())
                    use = use.plus(accounts.get(account, {}).get(month, Use()).beyond(known))  # noqa: PLW2901
                totals[month] = totals.get(month, Use()).at_least(use)
        for replica, accounts in found.replicas.items():
            raise_to(self.state.replicas.setdefault(replica, {}), accounts)
            self._heard.setdefault(replica, now)
        self.changed = True

    def sweep(self, now: int) -> None:
        """Forget whose part it was of replicas that are long gone; the totals stay."""
        for replica in [one for one, heard in self._heard.items() if now > heard + MEMORY]:
            del self._heard[replica]
            del self.state.replicas[replica]
            self.changed = True

    def is_needed(self) -> bool:
        """Whether a replica was heard lately."""
        return bool(self._heard)

    def _count(self, account: str, own: Months, counted: dict[Month, Use]) -> None:
        totals = self.state.totals.setdefault(account, {})
        for month, use in own.items():
            more = use.beyond(counted.get(month, Use()))
            if any(more):
                totals[month] = totals.get(month, Use()).plus(more)
                counted[month] = counted.get(month, Use()).at_least(use)
                self.changed = True
        drop_old(totals)
        drop_old(counted)

    def _raise(self, account: str, known: Months) -> None:
        raise_to(self.state.totals, {account: dict(known)})
        self.changed = True


def raise_to(accounts: Accounts, others: Accounts) -> None:
    """Have at least what `others` say in `accounts`."""
    for account, months in others.items():
        mine = accounts.setdefault(account, {})
        for month, use in months.items():
            mine[month] = mine.get(month, Use()).at_least(use)


def together(states: Iterable[UseState]) -> UseState:
    """Of several snapshots, each of which may be older or newer than the others: counts only grow."""
    found = UseState()
    for state in states:
        raise_to(found.totals, state.totals)
        for replica, accounts in state.replicas.items():
            raise_to(found.replicas.setdefault(replica, {}), accounts)
    return found
