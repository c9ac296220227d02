"""The snapshots of the budget stores: the debts of accounts, which are all that a restart has to remember."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import orjson

from app import owner_only
from app.budgets.account import Debt
from app.budgets.messages import SECOND
from app.budgets.shards import Shard

logger = logging.getLogger("portico.budgets")

TIMEOUT_SECONDS = 10.0  # for a file system that hangs
# A younger snapshot was written by a store whose grants still count: every bucket is full after a minute.
COUNTS_SECONDS = 60


def write(url: str, debts: dict[str, Debt]) -> None:
    system, path = fsspec.url_to_fs(url)
    owner_only.make_folder(system, system._parent(path))
    content = {"time": time.time(), "debts": {key: list(debt) for key, debt in debts.items()}}
    owner_only.write(system, path, orjson.dumps(content))


def read_in_time(url: str, shard: Shard) -> dict[str, Debt] | None:
    """As `read`; None as well where the file system does not answer in time."""
    reader = ThreadPoolExecutor(1)
    try:
        return reader.submit(read, url, shard).result(TIMEOUT_SECONDS)
    except TimeoutError:
        logger.warning("the snapshot of the budgets cannot be read in time; nothing is known of debts")
        return None
    finally:
        reader.shutdown(wait=False)


def read(url: str, shard: Shard) -> dict[str, Debt] | None:
    """The shard's debts in recent snapshots, as they are now; None where there is none that can be read.

    Another number of shards may have written them, so those of all numbers are read.
    """
    try:
        system, path = fsspec.url_to_fs(url)
        paths = list(_of_all_numbers(system, path))
    except Exception:
        logger.warning("the snapshots of the budgets cannot be listed; nothing is known of debts", exc_info=True)
        return None
    recent = [content for one in paths if (content := _recent(system, one)) is not None]
    debts: dict[str, Debt] = {}
    for content in recent:
        for key, debt in content.items():
            if shard.has(key):
                before = debts.get(key, Debt())
                debts[key] = Debt(max(before.requests, debt.requests), max(before.tokens, debt.tokens))
    return debts if recent else None


def _of_all_numbers(system: Any, path: str) -> Iterator[str]:
    folder = system._parent(path)
    if system.exists(folder):
        for one in system.ls(folder, detail=False):
            if one == path or Shard.is_name(one, path):
                yield one


def _recent(system: Any, path: str) -> dict[str, Debt] | None:
    """The debts in one snapshot; None where it is no more, too old, or cannot be read."""
    try:
        content = orjson.loads(system.cat_file(path))
        age = abs(time.time() - content["time"])
        if age >= COUNTS_SECONDS:
            return None
        return {key: Debt(*debt).later(int(age * SECOND)).owed() for key, debt in content["debts"].items()}
    except FileNotFoundError:
        return None
    except Exception:
        logger.warning("a snapshot of the budgets cannot be read; what it knew of debts is lost", exc_info=True)
        return None
