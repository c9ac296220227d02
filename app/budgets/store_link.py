"""A way to the budget store."""

from typing import Protocol

from app.budgets.messages import AdmissionReply, AdmissionRequest, Join, JoinReply, Report, UseReply, UseReport


class StoreUnreachableError(Exception):
    """The budget store does not answer: it is dead, restarting, or out of reach. The message may have arrived."""


class StoreLink(Protocol):
    """Every call may raise StoreUnreachableError, and takes a bounded time."""

    async def join(self, join: Join) -> JoinReply: ...
    async def admit(self, request: AdmissionRequest) -> AdmissionReply: ...

    async def report(self, report: Report) -> bool:
        """Returns False where the store does not know the replica: nothing was counted, it has to join first."""
        ...


class UseLink(Protocol):
    """The call may raise StoreUnreachableError, and takes a bounded time."""

    async def use(self, report: UseReport) -> UseReply: ...
