"""Who used what: sums from the ledger's database, as a table, as CSV, as JSON."""

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.commands.services import running
from app.config.prices import MILLION, Quantities
from app.config.service import read_serve_config
from app.config.usage import SQLITE, UsageSettings
from app.usage.groups import ordered
from app.usage.question import Question, Sum, range_of

NAMES = ("requests", *Quantities._fields)
DECIMALS = 6  # of the cost: millionths are what is kept


class NoLedger(Exception):
    """There is no ledger to read. The message says why."""


class DatabaseAway(Exception):
    """The database does not answer. The message has what it or the driver says."""


@dataclass(frozen=True)
class Report:
    """Sums, and in what currency they are."""

    by: tuple[str, ...]
    sums: list[Sum]
    currency: str

    def data(self) -> list[dict[str, Any]]:
        """A record a sum."""
        return [
            {**one.group, "requests": one.requests, **one.used._asdict()}
            | {"seconds": round(one.used.seconds, 2), "cost": one.cost / MILLION, "currency": self.currency}
            for one in self.sums
        ]

    def csv(self) -> str:
        """With a line of headings."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*self.by, *NAMES, "cost", "currency"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(record | {"cost": f"{record['cost']:.{DECIMALS}f}"} for record in self.data())
        return text.getvalue()

    def columns(self) -> list[str]:
        """Of the table: those that say something."""
        told = [name.removesuffix("_tokens") for name in self._told()]
        return [*self.by, *told, *([f"cost ({self.currency})"] if self._costs() else [])]

    def lines(self) -> list[list[str]]:
        """Of the table, its cells."""
        told, costs = self._told(), self._costs()
        return [
            [
                *("-" if (value := record[name]) is None else str(value) for name in self.by),
                *(f"{record[name]:,}" for name in told),
                *([f"{record['cost']:,.{DECIMALS}f}"] if costs else []),
            ]
            for record in self.data()
        ]

    def _told(self) -> list[str]:
        return [name for name in NAMES if name == "requests" or any(record[name] for record in self.data())]

    def _costs(self) -> bool:
        return any(one.cost for one in self.sums)


def report(
    config: Path | None, by: tuple[str, ...], since: datetime | None, until: datetime | None, where: dict[str, str]
) -> Report:
    """The sums of a range. Raises NoLedger, DatabaseAway, ConfigError, and ValueError of a range that is none."""
    settings = _settings(config)
    question = Question(ordered(by), *range_of(since, until, datetime.now(UTC)), where)
    return Report(question.by, _sums(settings, question), settings.currency)


def _settings(file: Path | None) -> UsageSettings:
    if file is None:
        services = running()
        if len(services) != 1:
            return UsageSettings()
        file = Path(services[0].config)
    _, config = read_serve_config(file)
    if not config.keeps_usage:
        why = "has it switched off" if not config.usage.enabled else "names no database for its several replicas"
        raise NoLedger(f"There is no usage ledger: {file} {why}.")
    return config.usage


def _sums(settings: UsageSettings, question: Question) -> list[Sum]:
    # A quarter of a second that no other command needs.
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from app.usage.place import database_url  # noqa: PLC0415
    from app.usage.store import opened  # noqa: PLC0415

    url = database_url(settings)
    if url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists():
        raise NoLedger("There is no usage yet: no service has written any.")
    try:
        store = opened(settings)
        try:
            return store.sums(question)
        finally:
            store.close()
    except SQLAlchemyError as error:
        said = getattr(error, "orig", None) or error
        raise DatabaseAway(f"The usage database does not answer: {said}") from None
