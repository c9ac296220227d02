"""Other clients do what they should not: those that behave do not notice."""

import asyncio

from contract.protocol import CHAT_ROUTE
from tests.reliability.clients import STREAM, of_json, read_nothing, send_a_byte_a_second, vanishing
from tests.reliability.measuring import assert_unharmed, under_load
from tests.reliability.system import System

SLOW, READERS = 500, 16
VANISH_SECONDS, VANISH_EVERY_S = 25.0, 0.7  # one of each kind
UNREAD_SECONDS = 30.0  # longer than limits.write_stall_timeout_s of the service


async def send_slowly(system: System) -> None:
    content = of_json(CHAT_ROUTE, STREAM)
    await asyncio.gather(*(send_a_byte_a_second(system.port, content) for _ in range(SLOW)))


async def leave(system: System) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(int(VANISH_SECONDS / VANISH_EVERY_S)):
            for one in vanishing(system.port):
                group.create_task(one)
            await asyncio.sleep(VANISH_EVERY_S)


async def stop_reading(system: System) -> None:
    await asyncio.gather(*(read_nothing(system.port, UNREAD_SECONDS) for _ in range(READERS)))


async def test_clients_that_send_a_byte_a_second_cost_the_others_nothing(system: System) -> None:
    assert_unharmed(await under_load(system, f"{SLOW} clients send a byte a second", send_slowly))


async def test_clients_that_vanish_cost_the_others_nothing(system: System) -> None:
    name = "clients vanish before the first byte, in mid-stream, in an upload"
    assert_unharmed(await under_load(system, name, leave))


async def test_readers_that_stop_cost_the_others_nothing(system: System) -> None:
    assert_unharmed(await under_load(system, f"{READERS} readers stop reading", stop_reading))
