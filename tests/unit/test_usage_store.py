"""The usage ledger's database: SQLite, and a real PostgreSQL."""

import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, insert, select, true, update
from sqlalchemy.exc import OperationalError

from app.config.prices import Quantities
from app.config.usage import UsageSettings
from app.usage import store as store_module
from app.usage.database import bounded, engine_of
from app.usage.place import database_url
from app.usage.question import Question
from app.usage.row import UsageRow
from app.usage.schema import SCHEMA_VERSION, USAGE, SchemaError
from app.usage.store import UsageStore, opened
from tests.usage_rows import NOON, row, server, settings

__all__ = ["server", "settings"]

DAY = timedelta(days=1)
BEGIN, END = NOON - 40 * DAY, NOON + 40 * DAY


@pytest.fixture
def store(settings: UsageSettings) -> Iterator[UsageStore]:
    store = opened(settings)
    yield store
    store.close()


def sums(store: UsageStore, *by: str, **changes: Any) -> list[tuple[Any, ...]]:
    """(group..., requests, input tokens, cost) of each."""
    question = Question(by, BEGIN, END, {})._replace(**changes)
    return [(*one.group.values(), one.requests, one.used.input_tokens, one.cost) for one in store.sums(question)]


def test_a_row_comes_back_as_it_was_written(store: UsageStore) -> None:
    used = Quantities(1, 2, 3, 4, 5.5, 6)
    written = row(used=used, status=None, team_id="sales", adjustments="top_p;action=clamp", is_estimate=True)
    assert store.write("one", 5, [written]) == 0
    with store._engine.connect() as connection:
        found = connection.execute(select(USAGE)).one()._asdict()
    assert (found.pop("origin"), found.pop("number"), found.pop("time")) == ("one", 5, NOON)
    assert found == {name: value for name, value in written._asdict().items() if name != "time"}


def test_a_row_has_the_columns_of_its_table_in_their_order() -> None:
    assert ("origin", "number", *UsageRow._fields) == tuple(USAGE.columns.keys())


def test_rows_that_are_sent_again_are_counted_once(store: UsageStore) -> None:
    rows = [row(), row(), row()]
    store.write("one", 0, rows)
    store.write("one", 0, rows)
    store.write("one", 2, [*rows, row()])  # one of them was there
    assert sums(store) == [(6, 60, 42)]


def test_requests_of_one_id_are_all_counted(store: UsageStore) -> None:
    """A client chooses it, and may use it twice, at two gateway replicas too."""
    store.write("one", 0, [row(), row()])
    store.write("two", 0, [row()])
    assert sums(store) == [(3, 30, 21)]


def test_a_row_that_the_database_cannot_take_is_counted_and_keeps_no_other_out(store: UsageStore) -> None:
    wrong = row(used=Quantities(input_tokens=2**70))
    assert store.write("one", 0, [row(), wrong, row()]) == 1
    assert sums(store) == [(2, 20, 14)]


def test_a_database_that_takes_nothing_loses_no_row(store: UsageStore) -> None:
    with store._engine.begin() as connection:
        USAGE.drop(connection)
    with pytest.raises(Exception, match="portico_usage"):
        store.write("one", 0, [row()])


class TestSums:
    @pytest.fixture(autouse=True)
    def rows(self, store: UsageStore) -> None:
        rows: list[UsageRow] = [
            row(),
            row(key_id="app", team_id="sales", model="beta"),
            row(time=(NOON + DAY).timestamp(), key_id="app", team_id="sales"),
            row(time=(NOON + DAY / 2 - timedelta(seconds=1)).timestamp(), status=None, route="/v1/embeddings"),
        ]
        store.write("one", 0, rows)

    @pytest.mark.parametrize(
        ("by", "expected"),
        [
            ((), [(4, 40, 28)]),
            (("day",), [("2027-01-31", 3, 30, 21), ("2027-02-01", 1, 10, 7)]),
            (("month",), [("2027-01", 3, 30, 21), ("2027-02", 1, 10, 7)]),
            (("model",), [("alpha", 3, 30, 21), ("beta", 1, 10, 7)]),
            (("key", "model"), [("app", "alpha", 1, 10, 7), ("app", "beta", 1, 10, 7), ("web", "alpha", 2, 20, 14)]),
            (("route",), [("/v1/chat/completions", 3, 30, 21), ("/v1/embeddings", 1, 10, 7)]),
        ],
        ids=str,
    )
    def test_are_of_each_group_in_order(self, store: UsageStore, by: tuple[str, ...], expected: list[Any]) -> None:
        assert sums(store, *by) == expected

    def test_of_what_is_not_known_are_a_group_too(self, store: UsageStore) -> None:
        assert set(sums(store, "status")) == {(None, 1, 10, 7), (200, 3, 30, 21)}
        assert set(sums(store, "team")) == {(None, 2, 20, 14), ("sales", 2, 20, 14)}

    def test_are_of_a_range_whose_end_is_not_in_it(self, store: UsageStore) -> None:
        assert sums(store, since=NOON, until=NOON + DAY) == [(3, 30, 21)]
        assert sums(store, since=NOON + DAY) == [(1, 10, 7)]

    @pytest.mark.parametrize("where", [{"key": "app"}, {"team": "sales"}, {"key": "app", "team": "sales"}], ids=str)
    def test_are_of_what_is_asked_for(self, store: UsageStore, where: dict[str, str]) -> None:
        assert sums(store, where=where) == [(2, 20, 14)]

    def test_have_one_more_than_is_wanted_where_there_are_more(self, store: UsageStore) -> None:
        assert len(sums(store, "day", "key", "route", limit=1)) == 2

    def test_of_nothing_are_zero(self, store: UsageStore) -> None:
        assert sums(store, where={"key": "nobody"}) == [(0, 0, 0)]
        assert sums(store, "day", where={"key": "nobody"}) == []


def test_old_rows_are_deleted_a_part_at_a_time(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "DELETED_AT_ONCE", 2)
    store.write("one", 0, [row(time=(NOON - DAY).timestamp())] * 3 + [row()])
    assert [store.delete_before(NOON) for _ in range(3)] == [2, 1, 0]
    assert sums(store) == [(1, 10, 7)]


def test_tables_are_made_once_however_many_make_them(settings: UsageSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(*args: Any) -> Any:
        time.sleep(0.2)  # for the others to see that there is no version yet
        return insert(*args)

    monkeypatch.setattr("app.usage.schema.insert", slowly)
    with ThreadPoolExecutor(4) as threads:
        for made in threads.map(opened, [settings] * 4):
            made.close()
    again = opened(settings)
    with again._engine.connect() as connection:
        assert connection.execute(select(SCHEMA_VERSION.c.version)).scalars().all() == [1]
    again.close()


def test_tables_of_another_version_are_left_alone(settings: UsageSettings) -> None:
    store = opened(settings)
    with store._engine.begin() as connection:
        connection.execute(update(SCHEMA_VERSION).values(version=2))
    store.close()
    with pytest.raises(SchemaError, match=r"version 2, and this Portico knows version 1; start the Portico that made"):
        opened(settings)


def test_a_statement_that_takes_too_long_ends(store: UsageStore) -> None:
    store.write("one", 0, [row()] * 1000)
    others = [USAGE.alias("b"), USAGE.alias("c")]
    many = select(func.count()).select_from(USAGE.join(others[0], true()).join(others[1], true()))
    with pytest.raises(OperationalError, match=r"interrupted|statement timeout"), bounded(store._engine, 0.2) as one:
        one.execute(many)
    assert sums(store) == [(1000, 10000, 7000)]  # the next has its own time


def test_a_sqlite_file_is_this_user_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    store = opened(UsageSettings(database=f"sqlite:///{path}"))
    store.write("one", 0, [row()])
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}
    store.close()
    path.chmod(0o666)
    with pytest.raises(PermissionError, match="not this user's own"):
        opened(UsageSettings(database=f"sqlite:///{path}"))


def test_an_error_of_the_database_shows_nothing_that_was_written(settings: UsageSettings) -> None:
    store = opened(settings)
    with store._engine.begin() as connection:
        USAGE.drop(connection)
    with pytest.raises(Exception, match="portico_usage") as caught:
        store.write("one", 0, [row(adjustments="private")] * 2)
    store.close()
    assert "private" not in str(caught.value)


def test_a_moment_is_utc_wherever_it_is_read(settings: UsageSettings) -> None:
    store = opened(settings)
    store.write("one", 0, [row(time=datetime(2027, 1, 31, 23, 30, tzinfo=UTC).timestamp())])
    store.close()
    engine = (
        create_engine(database_url(settings))
        if "sqlite" in str(settings.database)
        else engine_of(database_url(settings) + "&options=-c%20timezone%3DAsia/Tokyo")
    )
    assert sums(UsageStore(engine), "day") == [("2027-01-31", 1, 10, 7)]
    engine.dispose()
