"""A model that has lost all replicas: who waits for one is not left waiting."""

import asyncio

import pytest

from app.upstream.absence import Absence
from contract.errors import ApiError

WAIT_S = 60.0


class Clock:
    """The event loop's, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)


class Waits:
    def __init__(self) -> None:
        self.refused: list[tuple[str, str]] = []

    def refuse_waiting(self, model_id: str, error: ApiError) -> None:
        self.refused.append((model_id, error.code))


async def test_who_waits_is_refused_once_no_replica_has_run_for_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = Clock(monkeypatch), Waits()
    absence = Absence(waits, {"alpha": WAIT_S, "beta": WAIT_S})
    absence.follow({"alpha": 0, "beta": 1, "gateway": 0})
    clock.now += WAIT_S - 1
    absence.follow({"beta": 1})
    assert waits.refused == []
    clock.now += 1
    absence.follow({"beta": 1})
    assert waits.refused == [("alpha", "model_starting")]
    absence.follow({"beta": 1})  # and who has come meanwhile
    assert waits.refused == [("alpha", "model_starting")] * 2


async def test_a_replica_that_runs_again_begins_the_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = Clock(monkeypatch), Waits()
    absence = Absence(waits, {"alpha": WAIT_S})
    absence.follow({"alpha": 0})
    clock.now += WAIT_S - 1
    absence.follow({"alpha": 1})
    absence.follow({"alpha": 0})
    clock.now += WAIT_S - 1
    absence.follow({"alpha": 0})
    assert waits.refused == []
