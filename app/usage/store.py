"""The ledger in its database: rows that are written once, sums of them, and the end of old ones. Every call blocks."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Engine, Select, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError

from app.config.prices import Quantities
from app.config.usage import UsageSettings
from app.usage.database import bounded, engine_of
from app.usage.place import database_url
from app.usage.question import Question, Sum
from app.usage.schema import USAGE, prepare

logger = logging.getLogger("portico.usage")

FAULTS_OF_A_ROW = (DataError, IntegrityError, OverflowError)  # any other error: the database takes nothing now
DELETED_AT_ONCE = 5_000  # rows, so that no statement keeps others waiting for long
QUESTION_SECONDS = 10.0

# Of each dialect, and how its driver takes values by position.
INSERTS: dict[str, tuple[Any, str]] = {"sqlite": (sqlite.insert, "qmark"), "postgresql": (postgresql.insert, "format")}
GROUPED = {
    "key": USAGE.c.key_id,
    "team": USAGE.c.team_id,
    **{name: USAGE.c[name] for name in ("model", "route", "status")},
}
FORMATS = {"day": ("%Y-%m-%d", "YYYY-MM-DD"), "month": ("%Y-%m", "YYYY-MM")}  # of SQLite, of PostgreSQL
SUMMED = ("input_tokens", "cached_tokens", "output_tokens", "images", "seconds", "characters")


class UsageStore:
    """The ledger in the database of an engine whose tables are there."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert = _insert(engine.dialect)
        self._as_time: Any = USAGE.c.time.type.dialect_impl(engine.dialect).bind_processor(engine.dialect)

    def close(self) -> None:
        """Give its connections back."""
        self._engine.dispose()

    def write(self, origin: str, first: int, rows: Sequence[tuple[Any, ...]]) -> int:
        """Write rows that `origin` has numbered from `first` on, and that may be there already, in one transaction.

        Each is a UsageRow, or a tuple of the same. Returns how many the database will never take: they are lost. Where
        it takes none now, raises what SQLAlchemy raises.
        """
        values = [
            (origin, number, self._as_time(datetime.fromtimestamp(time, UTC)), *others)
            for number, (time, *others) in enumerate(rows, first)
        ]
        try:
            self._insert_all(values)
        except FAULTS_OF_A_ROW:  # the others are not to suffer
            return sum(not self._takes(one) for one in values)
        return 0

    def _takes(self, values: tuple[Any, ...]) -> bool:
        try:
            self._insert_all([values])
        except FAULTS_OF_A_ROW:
            logger.exception("the usage database does not take a row; it is lost")
            return False
        return True

    def _insert_all(self, values: list[tuple[Any, ...]]) -> None:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(self._insert, values)

    def delete_before(self, moment: datetime) -> int:
        """Delete up to DELETED_AT_ONCE rows that are older. Returns how many; fewer than that: no more are there."""
        place = tuple_(USAGE.c.origin, USAGE.c.number)
        old = select(USAGE.c.origin, USAGE.c.number).where(USAGE.c.time < moment).limit(DELETED_AT_ONCE)
        with self._engine.begin() as connection:
            return connection.execute(delete(USAGE).where(place.in_(old))).rowcount

    def sums(self, question: Question) -> list[Sum]:
        """In the order of the groups. Raises what SQLAlchemy raises, such as where it takes too long."""
        with bounded(self._engine, QUESTION_SECONDS) as connection:
            rows = connection.execute(self._selection(question)).all()
        return [_sum(question.by, tuple(row)) for row in rows]

    def _selection(self, question: Question) -> Select[Any]:
        groups = [self._group(name) for name in question.by]
        sums = [func.coalesce(func.sum(USAGE.c[name]), 0) for name in (*SUMMED, "cost_millionths")]
        selection = select(*groups, func.count(), *sums)
        selection = selection.where(USAGE.c.time >= question.since, USAGE.c.time < question.until)
        for name, value in question.where.items():
            selection = selection.where(GROUPED[name] == value)
        selection = selection.group_by(*groups).order_by(*groups)
        return selection if question.limit is None else selection.limit(question.limit + 1)

    def _group(self, name: str) -> ColumnElement[Any]:
        if name in GROUPED:
            return GROUPED[name]
        of_sqlite, of_postgresql = FORMATS[name]
        if self._engine.dialect.name == "sqlite":
            return func.strftime(of_sqlite, USAGE.c.time)
        return func.to_char(func.timezone("UTC", USAGE.c.time), of_postgresql)


def opened(settings: UsageSettings) -> UsageStore:
    """The ledger of a configuration, its tables made. Raises ConfigError, SchemaError, and what SQLAlchemy raises."""
    engine = engine_of(database_url(settings))
    try:
        prepare(engine)
    except BaseException:
        engine.dispose()
        raise
    return UsageStore(engine)


def _insert(dialect: Dialect) -> str:
    """The statement that leaves out rows which are there already, as its driver takes it.

    What SQLAlchemy itself would do with the values of each row takes as long as all the rest.
    """
    insert, style = INSERTS[dialect.name]
    by_position: Any = type(dialect)
    return str(insert(USAGE).on_conflict_do_nothing().compile(dialect=by_position(paramstyle=style)))


def _sum(by: tuple[str, ...], row: tuple[Any, ...]) -> Sum:
    """PostgreSQL sums whole numbers as decimals."""
    requests, *used, cost = row[len(by) :]
    amounts = {
        name: float(value) if name == "seconds" else int(value) for name, value in zip(SUMMED, used, strict=True)
    }
    return Sum(dict(zip(by, row, strict=False)), int(requests), Quantities(**amounts), int(cost))  # type: ignore[arg-type]
