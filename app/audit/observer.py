"""What a gateway replica sees of changes: it is told of none, so it compares. Who made them it cannot know."""

import logging
from pathlib import Path
from typing import Any

import orjson

from app.audit.change import UNKNOWN, Change
from app.audit.difference import difference
from app.audit.trail import Trail
from app.keys.lifecycle import Keys
from contract import cluster_store
from contract.fields import ConfigError
from contract.log_settings import AUDIT

logger = logging.getLogger(AUDIT)


class Observer:
    """Writes what it sees into the log of the replica, whose lines name the replica, and to the audit log's file where
    there is one. Its methods block.
    """

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    def see_config(self, application: str, config: dict[str, Any]) -> None:
        """Compare the configuration, as plain data, with the one that the application had before in this cluster: this
        process may be new.
        """
        key = f"audited configuration of {application}"
        before, now = cluster_store.get(key), orjson.dumps(config)
        if before != now:
            cluster_store.put(key, now)
            kept = orjson.loads(before) if before else {}
            self._write(Change("config.changed", {"application": application}, UNKNOWN, *difference(kept, config)))

    def see_keys(self, file: Path, before: Keys, after: Keys) -> None:
        """The content of the key file has become another."""
        one, other = ({key: entry.model_dump(mode="json", exclude_none=True) for key, entry in keys.items()}
                      for keys in (before, after))  # fmt: skip
        self._write(Change("key_file.changed", {"file": str(file)}, UNKNOWN, *difference(one, other)))

    def _write(self, change: Change) -> None:
        logger.info(change.message(), extra={"fields": change.content()})
        try:
            self._trail.write([change])
        except ConfigError as error:  # the change has been made by others, and is in the log
            logger.error("%s", error)  # noqa: TRY400 - there is nothing in its traceback
