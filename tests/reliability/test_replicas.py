"""A replica of a model, or its engine, dies or stops."""

from tests.reliability.kinds import CHAT
from tests.reliability.measuring import assert_kept, under_load
from tests.reliability.outcomes import Verdict
from tests.reliability.system import System, replica_of


async def kill_a_replica(system: System) -> None:
    system.kill(replica_of(CHAT))


async def test_a_killed_replica_costs_only_streams_that_had_begun(system: System) -> None:
    measured = await under_load(system, "a model replica is killed", kill_a_replica)
    assert_kept(measured)
    assert not measured.by_verdict(Verdict.REFUSED), measured.bad()  # there is another
