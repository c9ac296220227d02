"""The disks of the budgets' snapshot and of the kept images are full for a while."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.reliability.measuring import assert_books_and_leaks, assert_unharmed, under_load
from tests.reliability.outcomes import Verdict
from tests.reliability.system import System

FULL_SECONDS = 20.0
FILLING = "filling"
MAX_IMAGES = 60  # those of a minute, which is how long they are kept, and of the sweep after it


async def fill(folder: Path) -> None:
    """Have no byte left on the disk of `folder` for a while: what others remove there is filled again."""
    filling, until = folder / FILLING, time.monotonic() + FULL_SECONDS
    try:
        with filling.open("wb", buffering=0) as file:
            while time.monotonic() < until:
                with suppress(OSError):
                    while True:
                        file.write(bytes(4096))
                await asyncio.sleep(0.05)
    finally:
        filling.unlink()


async def fill_the_snapshot_s(system: System) -> None:
    await fill(system.snapshots)


async def fill_the_images(system: System) -> None:
    await fill(system.images)


@pytest.fixture(autouse=True)
def small_disks(system: System) -> None:
    if not system.has_small_disks:
        pytest.skip("no file system can be mounted here")


async def test_a_full_disk_of_the_snapshot_costs_nothing(system: System) -> None:
    assert_unharmed(await under_load(system, "the snapshot's disk is full", fill_the_snapshot_s))


async def test_a_full_disk_of_the_kept_images_refuses_images_by_url_and_costs_the_others_nothing(
    system: System,
) -> None:
    measured = await under_load(system, "the disk of the kept images is full", fill_the_images)
    bad = [one for one in measured.ended if one.verdict is not Verdict.OK]
    assert {(one.kind, one.verdict) for one in bad} == {("image", Verdict.REFUSED)}, measured.bad()
    assert_books_and_leaks(measured)
    assert system.kept_images() <= MAX_IMAGES
    assert all(one.suffix == ".png" for one in system.images.iterdir()), "half an image is left"
