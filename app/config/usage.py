"""The settings of the usage ledger: which database it is in, and for how long it remembers."""

from typing import Annotated, Self
from urllib.parse import parse_qs, urlsplit

import pydantic
from pydantic import Field, StringConstraints

from contract.fields import Strict
from contract.project import in_project

USAGE_PATH = "/v1/usage"  # of the route with which a key sees its own
SQLITE, POSTGRESQL = "sqlite:///", ("postgresql://", "postgresql+psycopg://")
LEGAL = "sqlite:////absolute/path.db, sqlite:///./in/the/project.db, postgresql://user@host:5432/database"
KEPT_APART = (
    "a password is not to stand in the configuration. Write the whole URL into a file that only the service reads and "
    "name it in `database_file`, or into an environment variable of every node and name that in `database_env`; or "
    "leave the password to PostgreSQL's own PGPASSFILE"
)


class UsageSettings(Strict):
    """The usage ledger: a row for each request that used something."""

    enabled: bool = True
    database: str | None = Field(
        None,
        description=f"a URL without a password: {LEGAL}. Left out, with one ingress replica: a SQLite file of this "
        "user's; with several there is no ledger then",
    )
    database_file: str | None = Field(
        None,
        pattern=r"^\.?/",
        description="a file that holds the URL, with its password, instead; absolute, or in the project with ./",
    )
    database_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(
        None, description="an environment variable of every node that holds the URL, with its password, instead"
    )
    retention_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        400, description="after which rows are deleted; null: never"
    )
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,16}$")] = Field(
        "usd", description="of all `prices`; a name, with which nothing is computed"
    )

    @pydantic.field_validator("database")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value)
            if _has_password(value):
                raise ValueError(KEPT_APART)
        return value

    @pydantic.model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        if sum(place is not None for place in (self.database, self.database_file, self.database_env)) > 1:
            raise ValueError("name one of `database`, `database_file` and `database_env`; there is one database")
        return self

    @property
    def names_a_place(self) -> bool:
        return (self.database or self.database_file or self.database_env) is not None


def check_url(url: str) -> None:
    """Raises ValueError, which does not repeat it, where it is no URL of a database that the ledger can use."""
    if url.startswith(SQLITE):
        if not in_project(url.removeprefix(SQLITE)).startswith("/"):
            raise ValueError(f"a SQLite file has an absolute path, or one that begins with ./; legal are {LEGAL}")
    elif not url.startswith(POSTGRESQL):
        raise ValueError(f"it is no URL of SQLite or PostgreSQL; legal are {LEGAL}")


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return parts.password is not None or any("password" in name.lower() for name in parse_qs(parts.query))
