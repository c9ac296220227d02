"""A replica of the gateway dies, all are replaced, or their number changes."""

from tests.reliability.measuring import assert_books_and_leaks, assert_unharmed, under_load
from tests.reliability.outcomes import Verdict
from tests.reliability.system import GATEWAY, System, replica_of

CLOSED_SECONDS = 3.0  # in which the connections of a gateway replica that died are closed


async def kill_a_gateway(system: System) -> None:
    system.kill(replica_of(GATEWAY))


async def replace_the_gateway(system: System) -> None:
    """What it reserves of a node cannot change while it runs."""
    system.args["ingress"]["num_cpus"] += 0.01
    await system.replace(GATEWAY)


async def change_the_number_of_gateways(system: System) -> None:
    before = system.gateways()
    for number in (before + 1, 1, before):
        system.args["ingress"]["replicas"] = number
        await system.resize(GATEWAY, number)


async def test_a_killed_gateway_replica_costs_only_the_requests_that_it_had(system: System) -> None:
    measured = await under_load(system, "a gateway replica is killed", kill_a_gateway)
    struck_at = measured.struck_at
    for one in measured.ended:
        if one.verdict is not Verdict.OK:
            assert one.sent - CLOSED_SECONDS < struck_at < one.ended < struck_at + 2 * CLOSED_SECONDS, measured.bad()
    assert_books_and_leaks(measured)


async def test_a_redeploy_of_the_gateway_costs_nothing(system: System) -> None:
    assert_unharmed(await under_load(system, "the gateway is redeployed", replace_the_gateway))


async def test_another_number_of_gateway_replicas_costs_nothing(system: System) -> None:
    name = "the gateway gets another replica, then one in all, then two"
    assert_unharmed(await under_load(system, name, change_the_number_of_gateways))
