"""Where the usage ledger is: what `usage` of a configuration may say, and that no password is shown."""

import stat
from pathlib import Path
from typing import Any

import pytest

from app.config.service import parse_config
from app.config.usage import UsageSettings
from app.usage.database import engine_of
from app.usage.place import database_url
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER
from tests.unit.conftest import config_args

SECRET = "h0rse-battery"  # noqa: S105 - of no database
WITH_PASSWORD = f"postgresql://portico:{SECRET}@db:5432/usage"


def refusal(**usage: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(config_args(usage=usage))
    return str(caught.value)


@pytest.mark.parametrize(
    ("database", "url"),
    [
        ("sqlite:////data/usage.db", "sqlite:////data/usage.db"),
        ("sqlite:///./usage.db", f"sqlite:///{PROJECT_FOLDER}/usage.db"),
        ("postgresql://portico@db:5432/usage", "postgresql+psycopg://portico@db:5432/usage"),
        ("postgresql+psycopg://db/usage?sslmode=verify-full", "postgresql+psycopg://db/usage?sslmode=verify-full"),
    ],
)
def test_a_database_is_a_sqlite_file_or_postgresql(database: str, url: str) -> None:
    assert database_url(UsageSettings(database=database)) == url


@pytest.mark.parametrize("database", ["mysql://db/usage", "/data/usage.db", "postgres://db/usage", ""])
def test_another_database_is_refused_with_those_that_are_legal(database: str) -> None:
    assert "usage.database: it is no URL of SQLite or PostgreSQL; legal are sqlite:////" in refusal(database=database)


@pytest.mark.parametrize("database", ["sqlite:///usage.db", "sqlite:///:memory:", "sqlite:///"])
def test_a_sqlite_file_has_a_place_that_is_the_same_for_every_process(database: str) -> None:
    assert "a SQLite file has an absolute path" in refusal(database=database)


@pytest.mark.parametrize(
    "database",
    [
        WITH_PASSWORD,
        f"postgresql://db/usage?user=portico&password={SECRET}",
        f"postgresql://db/usage?sslpassword={SECRET}",
        f"postgresql://db/usage?PASSWORD={SECRET}",
    ],
    ids=["user", "password", "sslpassword", "capitals"],
)
def test_a_password_in_the_configuration_is_refused_and_not_repeated(database: str) -> None:
    message = refusal(database=database)
    assert "`database_file`" in message
    assert "`database_env`" in message
    assert SECRET not in message


def test_there_is_one_database() -> None:
    assert "name one of `database`" in refusal(database="sqlite:////a.db", database_env="USAGE_URL")


def test_a_url_with_its_password_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{WITH_PASSWORD}\n")
    assert database_url(UsageSettings(database_file=str(file))) == WITH_PASSWORD.replace("://", "+psycopg://", 1)


def test_a_url_with_its_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_URL", WITH_PASSWORD)
    assert database_url(UsageSettings(database_env="USAGE_URL")) == WITH_PASSWORD.replace("://", "+psycopg://", 1)


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USAGE_URL", raising=False)
    with pytest.raises(ConfigError, match=r"database_env: USAGE_URL is not set here\. Set it where Ray is started"):
        database_url(UsageSettings(database_env="USAGE_URL"))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"database_file: /no/such cannot be read: FileNotFoundError"):
        database_url(UsageSettings(database_file="/no/such"))


@pytest.mark.parametrize("content", [f"mysql://portico:{SECRET}@db/usage", SECRET])
def test_what_a_file_holds_is_not_repeated(tmp_path: Path, content: str) -> None:
    file = tmp_path / "url"
    file.write_text(content)
    with pytest.raises(ConfigError, match="holds no URL that can be used") as caught:
        database_url(UsageSettings(database_file=str(file)))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("password", [f"a@{SECRET}", f"a@b:{SECRET}"])
def test_a_password_that_breaks_its_url_is_not_repeated(password: str) -> None:
    """SQLAlchemy takes what is behind its first @ for the host and the port, which errors show."""
    with pytest.raises(ConfigError, match="such as %40 for @") as caught:
        engine_of(f"postgresql+psycopg://portico:{password}@db/usage")
    assert SECRET not in str(caught.value)


def test_left_out_it_is_a_file_of_this_user_s_that_outlives_the_machine_s_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert database_url(UsageSettings()) == f"sqlite:///{tmp_path}/state/portico/usage.db"
    assert stat.S_IMODE((tmp_path / "state" / "portico").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"usage": {"enabled": False}}, False),
        ({"ingress": {"replicas": 3}}, False),
        ({"ingress": {"replicas": 3}, "usage": {"database_env": "USAGE_URL"}}, True),
    ],
    ids=str,
)
def test_several_replicas_need_a_database_that_all_nodes_reach(changes: dict[str, Any], kept: bool) -> None:
    config = parse_config(config_args(**changes))
    assert config.keeps_usage is kept
    assert ("/v1/usage" in config.disabled_routes()) is not kept
