"""The tables of the ledger, and how they come to be in a database. One version of them so far: no migration.

Alembic would be a second library, a folder of scripts and a step of the operator's for one table.
"""

import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    insert,
    select,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import TypeDecorator

VERSION = 1
LOCK = 7_305_431_986  # of PostgreSQL's advisory locks: whoever makes the tables, one after the other
TRIES, PAUSE_SECONDS = 10, 0.2  # with SQLite, whose other writers make it busy

metadata = MetaData()


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=None) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


USAGE = Table(
    "portico_usage",
    metadata,
    # Of the gateway replica that took the request, and its how manieth: a row that is sent again is known by them.
    # The id of a request is a client's to choose, and would hide all but the first that has it.
    Column("origin", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time", UtcTime, nullable=False),
    Column("request_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("team_id", String),
    Column("model", String, nullable=False),
    Column("route", String, nullable=False),
    Column("status", SmallInteger),
    Column("reason", String, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("images", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("characters", BigInteger, nullable=False),
    Column("is_estimate", Boolean, nullable=False),
    Column("cost_millionths", BigInteger, nullable=False),
    Column("adjustments", String),
    Index("portico_usage_time", "time"),
    Index("portico_usage_key_time", "key_id", "time"),
)
SCHEMA_VERSION = Table("portico_usage_version", metadata, Column("version", Integer, nullable=False))


class SchemaError(RuntimeError):
    """The tables that are there are not this version's. The message says what to do."""


def prepare(engine: Engine) -> None:
    """Make the tables where they are not there. Raises SchemaError, and what SQLAlchemy raises."""
    for left in reversed(range(TRIES)):
        try:
            with engine.begin() as connection:
                _prepare(connection)
        except OperationalError:  # of SQLite, where another process does the same now
            if not left or engine.dialect.name != "sqlite":
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return


def _prepare(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    else:  # its driver would begin at the first INSERT, after what is looked for before
        connection.execute(text("BEGIN IMMEDIATE"))
    metadata.create_all(connection)
    found: Any = connection.execute(select(SCHEMA_VERSION.c.version)).scalar()
    if found is None:
        connection.execute(insert(SCHEMA_VERSION).values(version=VERSION))
    elif found != VERSION:
        raise SchemaError(
            f"the usage database has tables of version {found}, and this Portico knows version {VERSION}; start the "
            "Portico that made them, or name another database under `usage`"
        )
