"""Where the ledger's database is: its URL, from the configuration, a file, or the environment. Nobody is shown it."""

import os
from pathlib import Path

from app.config.usage import POSTGRESQL, SQLITE, UsageSettings, check_url
from contract.fields import ConfigError
from contract.private_folder import private_folder
from contract.project import in_project

DRIVER = "postgresql+psycopg://"


def database_url(settings: UsageSettings) -> str:
    """The URL as SQLAlchemy takes it, a file's path absolute. Reads files. Raises ConfigError, PermissionError."""
    url = _url(settings)
    if url.startswith(SQLITE):
        return SQLITE + in_project(url.removeprefix(SQLITE))
    scheme = next(one for one in POSTGRESQL if url.startswith(one))
    return DRIVER + url.removeprefix(scheme)


def _url(settings: UsageSettings) -> str:
    if settings.database is not None:
        return settings.database
    if settings.database_file is not None:
        return _checked(_read(settings.database_file), "database_file")
    if settings.database_env is not None:
        found = os.environ.get(settings.database_env)
        if not found:
            raise ConfigError(
                f"usage.database_env: {settings.database_env} is not set here. Set it where Ray is started, on every "
                "node, and where `portico usage` runs"
            )
        return _checked(found, "database_env")
    return SQLITE + default_file()


def _read(place: str) -> str:
    try:
        return Path(in_project(place)).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"usage.database_file: {place} cannot be read: {type(error).__name__}") from None


def _checked(text: str, field: str) -> str:
    url = text.strip()
    try:
        check_url(url)
    except ValueError as error:
        raise ConfigError(f"usage.{field}: what it names holds no URL that can be used: {error}") from None
    return url


def default_file() -> str:
    """A file of this user's that outlives the machine's restart. Raises PermissionError."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(private_folder(state, "portico"), "usage.db")
