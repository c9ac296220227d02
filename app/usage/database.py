"""A connection to the ledger's database: bounds on how long anything takes, and what SQLite must do to lose nothing."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text

from app.config.usage import SQLITE
from contract.fields import ConfigError
from contract.private_folder import claim

CONNECT_SECONDS = 5
SILENT_SECONDS = 10  # of a network that takes what is sent and answers nothing
BUSY_SECONDS = 5  # of a SQLite file that another process writes
STEPS_BETWEEN_LOOKS = 100_000  # of SQLite's machine, about a millisecond


def engine_of(url: str) -> Engine:
    """Nothing is connected yet. No error of it shows the URL or what was written.

    Raises ConfigError, PermissionError.
    """
    if url.startswith(SQLITE):
        _claim_file(url.removeprefix(SQLITE))
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _make_durable)
        return engine
    options = {
        "connect_timeout": CONNECT_SECONDS,
        "tcp_user_timeout": SILENT_SECONDS * 1000,
        "keepalives_idle": SILENT_SECONDS,
        "application_name": "portico",
    }
    try:
        place = make_url(url)
    except ValueError:  # whose text may be a part of the password
        place = None
    if place is None or "@" in (place.host or ""):  # a driver's error shows the host
        raise ConfigError(
            "usage: the URL of the database cannot be read. Write what is no letter or digit of its user and password "
            "in per cent, such as %40 for @"
        )
    # One for what is written, one or two for questions. Each is asked for a sign of life before it is used.
    return create_engine(
        place, hide_parameters=True, pool_pre_ping=True, pool_size=2, max_overflow=2, pool_timeout=CONNECT_SECONDS,
        connect_args=options,
    )  # fmt: skip


@contextmanager
def bounded(engine: Engine, seconds: float) -> Iterator[Connection]:
    """A transaction whose statements end with an error after `seconds`, whoever still waits for them."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
            yield connection
            return
        raw: Any = connection.connection.driver_connection
        deadline = time.monotonic() + seconds
        raw.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
        try:
            yield connection
        finally:
            raw.set_progress_handler(None, 0)


def _claim_file(path: str) -> None:
    """The file is this user's alone: it says who used what."""
    with open(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "rb"):
        claim(path)


def _make_durable(connection: Any, _: Any) -> None:
    """What is committed stays, also where the machine loses power; who reads keeps nobody from writing."""
    for setting in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {setting}")
