"""`portico keys create|list|show|update|rotate|revoke`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.arguments import AsJson, checked, print_json, refuse

if TYPE_CHECKING:
    from app.commands.keys import Shown

application = typer.Typer(
    name="keys", help="Make, list, change, rotate and revoke API keys.", no_args_is_help=True, rich_markup_mode=None
)


def _span(text: str) -> timedelta:
    from app.keys.moments import parse_span

    return parse_span(text)


def _end(text: str) -> timedelta | datetime:
    from app.keys.moments import parse_end

    return parse_end(text)


KeyFilePath = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="The key file.")]
ConfigPath = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A Serve config file, which names the key file.")
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's public id.")]
Limit = Annotated[int | None, typer.Option(metavar="N")]
WHEN = "2027-01-31, 2027-01-31T18:00Z, 90d"


@application.command()
def create(
    name: Annotated[str, typer.Option(metavar="NAME", help="Whose key it is.")] = "",
    pipelines: Annotated[
        str | None, typer.Option(metavar="A,B", help="The models it may use; left out: every model.")
    ] = None,
    team: Annotated[
        str | None, typer.Option(metavar="TEAM", help="One of `teams` in the configuration, which it belongs to.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(metavar="N", help="Left out: 600.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(metavar="N", help="Left out: no limit.")] = None,
    concurrent_requests: Annotated[int | None, typer.Option(metavar="N", help="Left out: no limit.")] = None,
    weight: Annotated[int, typer.Option(metavar="N", help="Its part of a busy model against other keys'.")] = 1,
    admin: Annotated[bool, typer.Option("--admin", help="It may use the routes under /admin, too.")] = False,
    expires: Annotated[
        Any, typer.Option(parser=checked(_end), metavar="WHEN", help=f"{WHEN}; left out: never.")
    ] = None,
    file: KeyFilePath = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Make a key.

    Without a key file, print an entry for the configuration.
    """
    from app.commands import keys

    facts = {
        "name": name,
        "pipelines": None if pipelines is None else _names(pipelines),
        "team": team,
        "budget": _limits(requests_per_minute, tokens_per_minute, concurrent_requests),
        "weight": weight,
        "scopes": ["admin"] if admin else [],
    }
    with _refusals():
        place = keys.Place(file, config) if _named(file, config) else None
        _show(keys.create(place, facts, expires), as_json)


@application.command("list")
def list_keys(file: KeyFilePath = None, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Show every key in a line."""
    from app.commands import keys

    with _refusals():
        _show(keys.every(_place(file, config)), as_json)


@application.command()
def show(key_id: KeyId, file: KeyFilePath = None, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Show one key."""
    from app.commands import keys

    with _refusals():
        _show(keys.one(_place(file, config), key_id), as_json)


@application.command()
def update(
    key_id: KeyId,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Whose key it is.")] = None,
    pipelines: Annotated[
        str | None, typer.Option(metavar="A,B", help="The models it may use; 'every' for every model.")
    ] = None,
    team: Annotated[
        str | None, typer.Option(metavar="TEAM", help="One of `teams` in the configuration, which it belongs to.")
    ] = None,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    concurrent_requests: Limit = None,
    weight: Annotated[
        int | None, typer.Option(metavar="N", help="Its part of a busy model against other keys'.")
    ] = None,
    expires: Annotated[Any, typer.Option(parser=checked(_end), metavar="WHEN", help=WHEN)] = None,
    file: KeyFilePath = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Change a key: its name, scope, budget, weight or end.

    What is left out stays.
    """
    from app.commands import keys

    facts: dict[str, Any] = {
        "name": name,
        "team": team,
        "weight": weight,
        "budget": _limits(requests_per_minute, tokens_per_minute, concurrent_requests) or None,
    }
    facts = {fact: value for fact, value in facts.items() if value is not None}
    if pipelines is not None:
        facts["pipelines"] = None if pipelines == "every" else _names(pipelines)
    if not facts and expires is None:
        raise typer.BadParameter("nothing to change is given; name at least one of the options")
    with _refusals():
        _show(keys.update(_place(file, config), key_id, facts, expires), as_json)


@application.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[
        Any, typer.Option(parser=checked(_span), metavar="SPAN", help="24h, or 0: how long the old key stays good.")
    ] = "24h",
    expires: Annotated[
        Any,
        typer.Option(
            parser=checked(_end), metavar="WHEN", help=f"{WHEN}; left out: as long a life as the old key was made for."
        ),
    ] = None,
    file: KeyFilePath = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Make a key in place of another.

    The other expires after a grace time.
    """
    from app.commands import keys

    with _refusals():
        _show(keys.rotate(_place(file, config), key_id, grace, expires), as_json)


@application.command()
def revoke(key_id: KeyId, file: KeyFilePath = None, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """End a key at once."""
    from app.commands import keys

    with _refusals():
        _show(keys.revoke(_place(file, config), key_id), as_json)


def _names(text: str) -> list[str]:
    return [one.strip() for one in text.split(",")]


def _limits(requests_per_minute: int | None, tokens_per_minute: int | None, concurrent_requests: int | None) -> Any:
    """The part of a budget that was given."""
    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent_requests": concurrent_requests,
    }
    return {limit: value for limit, value in limits.items() if value is not None}


def _place(file: Path | None, config: Path | None) -> Any:
    from app.commands.keys import Place

    if not _named(file, config):
        raise typer.BadParameter("one of the arguments --file --config is required")
    return Place(file, config)


def _named(file: Path | None, config: Path | None) -> bool:
    if file is not None and config is not None:
        raise typer.BadParameter("--file and --config are both given; keep one")
    return file is not None or config is not None


def _show(shown: "Shown", as_json: bool) -> None:
    if as_json:
        print_json(shown.data)
    else:
        print(shown.text)


@contextmanager
def _refusals() -> Iterator[None]:
    from app.keys.lifecycle import KeyRefusal
    from contract.fields import ConfigError

    try:
        yield
    except (KeyRefusal, ConfigError) as error:
        refuse(error)
