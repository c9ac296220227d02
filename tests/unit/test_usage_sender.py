"""Rows on their way from a gateway replica to the ledger: nothing lost, nothing twice, memory bounded."""

import asyncio
import itertools
import time
from collections.abc import Sequence

import pytest

from app.usage import sender as sender_module
from app.usage.link import Batch, LedgerUnreachableError
from app.usage.question import Question, Sum
from app.usage.row import UsageRow
from app.usage.sender import UsageSender
from tests.usage_rows import row


class Ledger:
    """A link that keeps what it is sent, as its database would, while it is there."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.rows: dict[tuple[str, int], UsageRow] = {}
        self.is_there = True
        self.loses_answers = False
        self.refused = 0

    async def write(self, batch: Batch) -> int:
        self.batches.append(batch)
        if not self.is_there:
            raise LedgerUnreachableError("away")
        for number, one in enumerate(batch.rows, batch.first):
            self.rows.setdefault((batch.origin, number), one)
        if self.loses_answers:
            raise LedgerUnreachableError("the answer was lost")
        return self.refused

    async def ask(self, question: Question) -> list[Sum]:
        raise NotImplementedError


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def lost() -> list[int]:
    return []


@pytest.fixture
def waiting() -> list[int]:
    """What the gauge was set to."""
    return []


@pytest.fixture
def sender(ledger: Ledger, lost: list[int], waiting: list[int]) -> UsageSender:
    sender = UsageSender(lost.append, waiting.append)
    sender.follow(ledger)
    return sender


def ids(rows: Sequence[UsageRow]) -> list[str]:
    return [one.request_id for one in rows]


def add(sender: UsageSender, *request_ids: str) -> None:
    for request_id in request_ids:
        sender.add(row(request_id=request_id))


async def test_rows_are_sent_in_their_order_and_once(sender: UsageSender, ledger: Ledger) -> None:
    add(sender, "a", "b")
    await sender.send()
    add(sender, "c")
    await sender.send()
    await sender.send()
    assert [(one.first, ids(one.rows)) for one in ledger.batches] == [(0, ["a", "b"]), (2, ["c"])]


async def test_two_replicas_never_number_alike(ledger: Ledger) -> None:
    for _ in range(2):
        sender = UsageSender(lambda _: None, lambda _: None)
        sender.follow(ledger)
        add(sender, "a")
        await sender.send()
    assert len(ledger.rows) == 2


async def test_what_is_not_acknowledged_is_sent_again_as_it_was(sender: UsageSender, ledger: Ledger) -> None:
    ledger.loses_answers = True
    add(sender, "a", "b")
    await sender.send()
    add(sender, "c")
    ledger.loses_answers = False
    await sender.send()
    assert [(one.first, ids(one.rows)) for one in ledger.batches] == [(0, ["a", "b"]), (0, ["a", "b"]), (2, ["c"])]
    assert ids(list(ledger.rows.values())) == ["a", "b", "c"]


async def test_while_the_ledger_is_away_rows_wait(
    sender: UsageSender, ledger: Ledger, lost: list[int], waiting: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    ledger.is_there = False
    for request_id in "abc":
        add(sender, request_id)
        await sender.send()
    assert waiting == [1, 2, 3]
    ledger.is_there = True
    await sender.send()
    assert ids(list(ledger.rows.values())) == ["a", "b", "c"]
    assert (waiting[-1], lost) == (0, [])
    assert [one.message for one in caplog.records] == [
        "the usage ledger is away (away); what is used waits in memory",
        "the usage ledger is back",
    ]


async def test_what_comes_while_rows_are_sent_waits_for_others(sender: UsageSender, ledger: Ledger) -> None:
    """Else under load each of a gateway's few newest rows would be a call and a transaction of its own."""
    write = ledger.write

    async def write_slowly(batch: Batch) -> int:
        add(sender, "b", "c")
        return await write(batch)

    ledger.write = write_slowly  # type: ignore[method-assign]
    add(sender, "a")
    await sender.send()
    assert [ids(one.rows) for one in ledger.batches] == [["a"]]
    await sender.send()
    assert [ids(one.rows) for one in ledger.batches] == [["a"], ["b", "c"]]


async def test_a_backlog_leaves_in_batches(
    sender: UsageSender, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "AT_ONCE", 2)
    add(sender, *"abcde")
    await sender.send()
    assert [ids(one.rows) for one in ledger.batches] == [["a", "b"], ["c", "d"], ["e"]]


async def test_more_than_memory_may_hold_is_lost_oldest_first_and_counted(
    sender: UsageSender,
    ledger: Ledger,
    lost: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sender_module, "MOST_WAITING", 2)
    monkeypatch.setattr(sender_module, "AT_ONCE", 1)
    ledger.is_there = False
    add(sender, *"abcdef")  # `a` is in the batch that may have arrived
    await sender.send()
    assert lost == [3]
    assert "the usage of 3 requests is lost: the ledger has been away for too long" in caplog.text
    ledger.is_there = True
    await sender.send()
    assert ids(list(ledger.rows.values())) == ["a", "e", "f"]


async def test_rows_that_the_database_refuses_are_counted(sender: UsageSender, ledger: Ledger, lost: list[int]) -> None:
    ledger.refused = 1
    add(sender, "a", "b")
    await sender.send()
    assert lost == [1]


async def test_a_row_leaves_within_a_second(sender: UsageSender, ledger: Ledger) -> None:
    keeping = asyncio.create_task(sender.keep())
    began = time.monotonic()
    add(sender, "a")
    async with asyncio.timeout(60):
        while not ledger.rows:
            await asyncio.sleep(0.01)
    assert sender_module.SEND_SECONDS <= 0.5
    assert time.monotonic() - began >= sender_module.SEND_SECONDS / 2  # it waits for others
    keeping.cancel()


async def test_rows_leave_on_time_though_the_database_is_slow(
    sender: UsageSender, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that a write takes is a part of the pause before the next."""
    monkeypatch.setattr(sender_module, "SEND_SECONDS", 0.2)
    write = ledger.write
    began: list[float] = []

    async def write_slowly(batch: Batch) -> int:
        began.append(time.monotonic())
        add(sender, "b")
        await asyncio.sleep(0.18)
        return await write(batch)

    ledger.write = write_slowly  # type: ignore[method-assign]
    keeping = asyncio.create_task(sender.keep())
    async with asyncio.timeout(60):
        while len(began) < 6:
            await asyncio.sleep(0.01)
    keeping.cancel()
    assert min(after - before for before, after in itertools.pairwise(began)) < 0.3


async def test_a_ledger_that_is_away_is_asked_ever_less_often(
    sender: UsageSender, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 6:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    ledger.is_there = False
    add(sender, "a")
    with pytest.raises(asyncio.CancelledError):
        await sender.keep()
    assert pauses == [0.5, 1, 2, 4, 5, 5, 5]


async def test_an_idle_replica_gives_a_sign_of_life_so_that_the_ledger_stays(
    sender: UsageSender, ledger: Ledger
) -> None:
    await sender.send()
    await sender.send()
    assert [one.rows for one in ledger.batches] == [[]]
    sender._heard -= sender_module.LIFE_SECONDS
    await sender.send()
    assert len(ledger.batches) == 2


async def test_a_replica_that_ends_sends_what_waits(sender: UsageSender, ledger: Ledger, lost: list[int]) -> None:
    add(sender, "a")
    await sender.close()
    assert ids(list(ledger.rows.values())) == ["a"]
    assert lost == []


async def test_what_a_replica_that_ends_cannot_send_is_counted(
    sender: UsageSender, ledger: Ledger, lost: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "CLOSE_SECONDS", 0.3)
    ledger.is_there = False
    add(sender, "a", "b")
    await sender.close()
    assert lost == [2]


async def test_a_replica_that_ends_waits_a_moment_for_a_ledger_that_is_away(
    sender: UsageSender, ledger: Ledger, lost: list[int]
) -> None:
    ledger.is_there = False
    add(sender, "a")
    await sender.send()
    closing = asyncio.create_task(sender.close())
    await asyncio.sleep(0)
    ledger.is_there = True
    await closing
    assert ids(list(ledger.rows.values())) == ["a"]
    assert lost == []


async def test_another_ledger_gets_what_waits(sender: UsageSender, ledger: Ledger) -> None:
    ledger.is_there = False
    add(sender, "a")
    await sender.send()
    other = Ledger()
    sender.follow(other)
    await sender.send()
    assert ids(list(other.rows.values())) == ["a"]


async def test_without_a_ledger_nothing_is_kept_and_nothing_is_lost(
    sender: UsageSender, lost: list[int], waiting: list[int]
) -> None:
    sender.follow(None)
    add(sender, "a")
    await sender.send()
    assert (waiting, lost) == ([0], [])
