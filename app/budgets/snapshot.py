"""The snapshots of the budget stores: the debts of accounts, which are all that a restart has to remember."""

import logging
import time
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
    """As `read`; nothing is known where the file system does not answer in time."""
    reader = ThreadPoolExecutor(1)
    try:
        return reader.submit(read, url, shard).result(TIMEOUT_SECONDS)
    except TimeoutError:
        logger.warning("the snapshot of the budgets cannot be read in time; nothing is known of debts")
        return {}
    finally:
        reader.shutdown(wait=False)


def read(url: str, shard: Shard) -> dict[str, Debt] | None:
    """The shard's debts in recent snapshots, as they are now; None where there surely is none.

    Another number of shards may have written them, so those of all numbers are read. One that cannot be read may have
    been recent: its store's grants may still count, though nothing is known of them.
    """
    try:
        system, path = fsspec.url_to_fs(url)
    except Exception:
        logger.warning("there is no place for snapshots of the budgets; nothing is known of debts", exc_info=True)
        return {}
    paths, recent = {shard.name(path)}, False  # its own is read even where the others cannot be listed
    try:
        paths.update(of_all_numbers(system, path))
    except Exception:
        logger.warning("the other snapshots of the budgets cannot be listed", exc_info=True)
        recent = True
    debts: dict[str, Debt] = {}
    for one in sorted(paths):
        content = _recent(system, one)
        recent = recent or content is not None
        for key, debt in (content or {}).items():
            if shard.has(key):
                before = debts.get(key, Debt())
                debts[key] = Debt(max(before.requests, debt.requests), max(before.tokens, debt.tokens))
    return debts if recent else None


def of_all_numbers(system: Any, path: str, suffix: str = "") -> list[str]:
    """The files at `path` of shards, of any number of them, whose names end in `suffix`."""
    try:
        found = system.ls(system._parent(path), detail=False)
    except FileNotFoundError:  # the folder is made with the first snapshot
        return []
    names = {one: one.removesuffix(suffix) for one in found if one.endswith(suffix)}
    return [one for one, name in names.items() if name == path or Shard.is_name(name, path)]


def _recent(system: Any, path: str) -> dict[str, Debt] | None:
    """The debts in one snapshot; None where it is no more, or too old. Nothing where it cannot be read."""
    try:
        content = orjson.loads(owner_only.read(system, path))
        age = abs(time.time() - content["time"])
        if age >= COUNTS_SECONDS:
            return None
        return {key: Debt(*debt).later(int(age * SECOND)).owed() for key, debt in content["debts"].items()}
    except FileNotFoundError:
        return None
    except Exception:
        logger.warning("a snapshot of the budgets cannot be read; what it knew of debts is lost", exc_info=True)
        return {}
