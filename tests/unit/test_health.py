"""A replica whose engine failed a request is replaced where the engine fails its trial too, and only there."""

import asyncio

import pytest

from deployments.health import EngineBrokenError, Health


class Engine:
    """Fails its trial for as long as it is broken."""

    def __init__(self, *, broken: bool) -> None:
        self.broken = broken
        self.trials = 0
        self.go_on = asyncio.Event()

    async def trial(self) -> None:
        self.trials += 1
        await self.go_on.wait()
        if self.broken:
            raise RuntimeError("no GPU")


@pytest.mark.parametrize("broken", [True, False])
async def test_after_a_failure_the_trial_decides(broken: bool) -> None:
    engine = Engine(broken=broken)
    health = Health(engine.trial)
    health.check()
    assert health.trials() == 0
    health.suspect()
    await asyncio.sleep(0)
    health.check()  # nobody waits for the trial
    assert health.trials() == 1
    engine.go_on.set()
    await asyncio.sleep(0.01)
    assert health.trials() == 0
    if broken:
        with pytest.raises(EngineBrokenError):
            health.check()
    else:
        health.check()


async def test_many_failures_are_one_trial_at_a_time() -> None:
    engine = Engine(broken=False)
    health = Health(engine.trial)
    for _ in range(5):
        health.suspect()
        await asyncio.sleep(0)
    assert engine.trials == 1
    engine.go_on.set()
    await asyncio.sleep(0.01)
    health.suspect()
    await asyncio.sleep(0.01)
    assert engine.trials == 2
