"""The snapshots of what accounts have used in each month: files beside those of debts, which count at any age."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import orjson

from app import owner_only
from app.budgets.monthly_use import Accounts, UseState, together
from app.budgets.shards import Shard
from app.budgets.snapshot import TIMEOUT_SECONDS, of_all_numbers
from app.budgets.use import Use

logger = logging.getLogger("portico.budgets")

SUFFIX = ".use"


def write(url: str, content: bytes) -> None:
    """`url` is of the shard's snapshot of debts."""
    system, path = fsspec.url_to_fs(url)
    owner_only.make_folder(system, system._parent(path))
    owner_only.write(system, path + SUFFIX, content)


def content_of(state: UseState) -> bytes:
    return orjson.dumps({"totals": state.totals, "replicas": state.replicas}, default=list)


def read_in_time(url: str, shard: Shard) -> UseState | None:
    """As `read`; None where it cannot be read now."""
    reader = ThreadPoolExecutor(1)
    try:
        return reader.submit(read, url, shard).result(TIMEOUT_SECONDS)
    except Exception:
        logger.warning("what was used in this month cannot be read now; it is tried again", exc_info=True)
        return None
    finally:
        reader.shutdown(wait=False)


def read(url: str, shard: Shard) -> UseState:
    """What the snapshots of shards of all numbers have of this shard's accounts. May raise what a file system does."""
    system, path = fsspec.url_to_fs(url)
    system.invalidate_cache()
    found = {shard.name(path) + SUFFIX, *of_all_numbers(system, path, SUFFIX)}
    return together(_read_one(system, one, shard) for one in sorted(found))


def _read_one(system: Any, path: str, shard: Shard) -> UseState:
    try:
        content = orjson.loads(owner_only.read(system, path))
        replicas = {replica: _of_shard(accounts, shard) for replica, accounts in content["replicas"].items()}
        return UseState(_of_shard(content["totals"], shard), replicas)
    except FileNotFoundError:
        return UseState()
    except (ValueError, LookupError, TypeError, AttributeError):  # it will not be better at the next try
        logger.exception("%s is broken; what it knew of the use of each month is lost", path)
        return UseState()


def _of_shard(accounts: dict[str, dict[str, list[int]]], shard: Shard) -> Accounts:
    return {
        account: {month: Use(*use) for month, use in months.items()}
        for account, months in accounts.items()
        if shard.has(account)
    }
