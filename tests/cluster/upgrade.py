"""An upgrade of the whole service on three machines under load, and what it cost: `python -m tests.cluster.upgrade`.

What an image changes is restarted, as with a new image: a chat model and the gateway itself. `portico deploy` hands the
changed configuration over. The exit status is 1 where a request was lost, failed or refused.
"""

import asyncio
import sys
from collections import Counter

from tests.cluster.clustered_system import ClusteredSystem, three_machines
from tests.reliability.kinds import CHAT
from tests.reliability.measuring import Measured, under_load
from tests.reliability.outcomes import Verdict
from tests.reliability.system import GATEWAY, System

UPGRADE = "an upgrade of the whole service"


async def upgrade(system: System) -> None:
    """Give every replica of a model and of the gateway a successor."""
    entry = system.scaled.entry(CHAT)
    entry["env"]["PORTICO_TEST"] = str(int(entry["env"].get("PORTICO_TEST", "0")) + 1)
    system.args["ingress"]["num_cpus"] += 0.01
    await system.replace(CHAT, GATEWAY)


async def measured_upgrade(system: ClusteredSystem) -> Measured:
    return await under_load(system, UPGRADE, upgrade)


async def _run(system: ClusteredSystem) -> Counter[Verdict]:
    await system.wait_whole()
    return Counter(one.verdict for one in (await measured_upgrade(system)).ended)


def main() -> int:
    with three_machines(redis=False) as system:
        ends = asyncio.run(_run(system))
    print(", ".join(f"{ends[verdict]} {verdict}" for verdict in Verdict))
    return int(ends.total() > ends[Verdict.OK])


if __name__ == "__main__":
    sys.exit(main())
