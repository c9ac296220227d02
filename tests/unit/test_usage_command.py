"""`portico usage`: sums from the ledger's database, as people and machines read them."""

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.__main__ import main
from app.config.prices import Quantities
from app.config.usage import UsageSettings
from app.usage.store import opened
from tests.unit.conftest import config_args
from tests.usage_rows import NOON, row

RANGE = ("--since", "2027-01-01", "--until", "2027-03-01")


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A Serve config file with a ledger of two keys."""
    usage = {"database": f"sqlite:///{tmp_path}/usage.db", "currency": "eur"}
    store = opened(UsageSettings(**usage))
    rows = [
        row(key_id="web", cost_millionths=1_500_000),
        row(key_id="web", time=(NOON + timedelta(days=1)).timestamp()),
        row(key_id="app", team_id="sales", model="beta", used=Quantities(seconds=1.5), cost_millionths=0),
    ]
    store.write("one", 0, rows)
    store.close()
    return written(tmp_path, usage=usage)


def written(folder: Path, **changes: Any) -> str:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({"applications": [{"args": config_args(**changes)}]}))
    return str(file)


def test_as_a_table_has_the_columns_that_say_something(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--by", "key", *RANGE, "--config", config]) == 0
    head, _, *rows = (text for text in capsys.readouterr().out.splitlines() if text.strip())
    assert head.split() == [
        "key", "requests", "input", "cached", "output", "seconds", "cost", "(eur)",
    ]  # fmt: skip
    assert [one.split() for one in rows] == [
        ["app", "1", "0", "0", "0", "1.5", "0.000000"],
        ["web", "2", "20", "8", "4", "0.0", "1.500007"],
    ]


def test_as_csv_has_every_column(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--by", "key,model,day", "--format", "csv", *RANGE, "--config", config]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(one["day"], one["key"], one["model"], one["cost"]) for one in rows] == [
        ("2027-01-31", "app", "beta", "0.000000"),
        ("2027-01-31", "web", "alpha", "1.500000"),
        ("2027-02-01", "web", "alpha", "0.000007"),
    ]
    assert list(rows[0]) == [
        "day", "key", "model", "requests", "input_tokens", "cached_tokens", "output_tokens", "images", "seconds",
        "characters", "cost", "currency",
    ]  # fmt: skip


def test_as_json_has_numbers(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--by", "team", "--team", "sales", "--format", "json", *RANGE, "--config", config]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "team": "sales", "requests": 1, "input_tokens": 0, "cached_tokens": 0, "output_tokens": 0, "images": 0,
            "seconds": 1.5, "characters": 0, "cost": 0.0, "currency": "eur",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--by", "user"), "'user' is nothing to group by; legal are day, month, key, team, model, route, status"),
        (("--since", "soon"), "'soon' is no moment; legal are 2027-01-31"),
        (("--since", "2027-02-01", "--until", "2027-01-01"), "`since` is not before `until`"),
    ],
    ids=str,
)
def test_what_is_not_legal_is_refused(
    config: str, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["usage", *arguments, "--config", config]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_ledger_that_was_never_written_is_said_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, usage={"database": f"sqlite:///{tmp_path}/new.db"})
    assert main(["usage", "--config", file]) == 1
    assert "There is no usage yet" in capsys.readouterr().err
    assert not (tmp_path / "new.db").exists()


def test_a_configuration_without_a_ledger_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--config", written(tmp_path, usage={"enabled": False})]) == 1
    assert "has it switched off" in capsys.readouterr().err
    assert main(["usage", "--config", written(tmp_path, ingress={"replicas": 2})]) == 1
    assert "names no database for its several replicas" in capsys.readouterr().err


def test_a_database_that_does_not_answer_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "h0rse-battery"  # noqa: S105 - of no database
    monkeypatch.setenv("USAGE_URL", f"postgresql://portico:{secret}@/usage?host={tmp_path}/no-such")
    assert main(["usage", "--config", written(tmp_path, usage={"database_env": "USAGE_URL"})]) == 3
    said = capsys.readouterr().err
    assert said.startswith("The usage database does not answer: connection ")
    assert secret not in said
