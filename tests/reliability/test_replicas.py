"""A replica of a model, or its engine, dies or stops."""

from contextlib import suppress

import psutil

from tests.reliability.kinds import CHAT
from tests.reliability.measuring import assert_kept, under_load
from tests.reliability.outcomes import Verdict
from tests.reliability.system import ENGINE, System, replica_of


async def kill_a_replica(system: System) -> None:
    system.kill(replica_of(CHAT))


async def kill_every_replica(system: System) -> None:
    system.kill_all(system.running(replica_of(CHAT)))


async def kill_an_engine(system: System) -> None:
    system.kill(ENGINE)


async def stop_an_engine(system: System) -> None:
    """SIGSTOP: it does not end, and does nothing any more. It is to be ended with its replica."""
    process = system.busiest(ENGINE)
    process.suspend()
    with suppress(psutil.NoSuchProcess):
        await system.gone(process)


async def test_a_killed_replica_costs_only_streams_that_had_begun(system: System) -> None:
    measured = await under_load(system, "a model replica is killed", kill_a_replica)
    assert_kept(measured)
    assert measured.by_verdict(Verdict.CUT), "it had no stream"
    assert not measured.by_verdict(Verdict.REFUSED), measured.bad()  # there is another


async def test_a_model_that_has_lost_all_replicas_refuses_and_comes_back(system: System) -> None:
    measured = await under_load(system, "all replicas of a model are killed", kill_every_replica)
    assert_kept(measured)


async def test_a_killed_engine_costs_only_streams_that_had_begun(system: System) -> None:
    measured = await under_load(system, "the engine in a replica is killed", kill_an_engine)
    assert_kept(measured)
    assert not measured.by_verdict(Verdict.REFUSED), measured.bad()


async def test_a_stopped_engine_is_replaced_and_costs_only_streams_that_had_begun(system: System) -> None:
    measured = await under_load(system, "the engine in a replica is stopped", stop_an_engine)
    assert_kept(measured)
