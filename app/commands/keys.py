"""`python -m app keys create|list|show|rotate|revoke`."""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from app.commands import keys_report as report
from app.config.service import Config, read_serve_config
from app.keys import lifecycle, moments
from app.keys.entry import KeyEntry
from app.keys.file import KeyFile
from app.keys.lifecycle import KeyRefusal
from contract.fields import ConfigError

Action = Callable[[argparse.Namespace], None]
Parsers = Any  # argparse has no public name for what add_subparsers returns

DEFAULT_GRACE = timedelta(hours=24)
FOLLOWED = "The service follows within 5 seconds."
SHOWN_ONCE = "This is the only time it is shown; only its hash is kept."


def add_to(commands: Parsers) -> None:
    """Add the command `keys` and those under it."""
    keys = commands.add_parser("keys", help="make, list, rotate and revoke API keys")
    actions = keys.add_subparsers(required=True, metavar="COMMAND")

    create = _add(actions, "create", _create, "make a key; without a key file, print an entry for the configuration")
    create.add_argument("--name", default="", help="whose key it is")
    create.add_argument("--pipelines", type=_names, metavar="A,B", help="the models it may use; left out: every model")
    create.add_argument("--requests-per-minute", type=int, metavar="N", help="left out: 600")
    create.add_argument("--tokens-per-minute", type=int, metavar="N", help="left out: no limit")
    create.add_argument("--concurrent-requests", type=int, metavar="N", help="left out: no limit")
    create.add_argument(
        "--weight", type=int, default=1, metavar="N", help="its part of a busy model against other keys'; left out: 1"
    )
    _add_expires(create, "left out: never")

    _add(actions, "list", _list, "show every key in a line")

    show = _add(actions, "show", _show, "show one key")
    show.add_argument("id", help="the key's public id")

    rotate = _add(actions, "rotate", _rotate, "make a key in place of another, which expires after a grace time")
    rotate.add_argument("id", help="the public id of the old key")
    rotate.add_argument(
        "--grace", type=moments.parse_span, default=DEFAULT_GRACE, metavar="SPAN", help="24h, or 0; left out: 24h"
    )
    _add_expires(rotate, "left out: as long a life as the old one was made for")

    revoke = _add(actions, "revoke", _revoke, "end a key at once")
    revoke.add_argument("id", help="the key's public id")


def _add(actions: Parsers, name: str, action: Action, message: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=message, description=message)
    place = parser.add_mutually_exclusive_group(required=action is not _create)
    place.add_argument("--file", type=Path, help="the key file")
    place.add_argument("--config", type=Path, metavar="FILE", help="a Serve config file, which names the key file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=lambda options: _run(action, options))
    return parser


def _add_expires(parser: argparse.ArgumentParser, left_out: str) -> None:
    parser.add_argument(
        "--expires", type=moments.parse_end, metavar="WHEN", help=f"2027-01-31, 2027-01-31T18:00Z, 90d; {left_out}"
    )


def _run(action: Action, options: argparse.Namespace) -> int:
    try:
        action(options)
    except (KeyRefusal, ConfigError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _create(options: argparse.Namespace) -> None:
    now = _now()
    limits = {
        "requests_per_minute": options.requests_per_minute,
        "tokens_per_minute": options.tokens_per_minute,
        "concurrent_requests": options.concurrent_requests,
    }
    facts = {
        "name": options.name,
        "pipelines": options.pipelines,
        "budget": {name: limit for name, limit in limits.items() if limit is not None},
        "weight": options.weight,
        "expires": _end(options.expires, now),
    }
    if options.file is None and options.config is None:
        _print_block(*lifecycle.make({}, now, **facts), options.json)
        return
    with _file(options).changing(new=True) as keys:
        secret, entry = lifecycle.make(keys, now, **facts)
    message = f"{SHOWN_ONCE} {FOLLOWED}\nIts id is {entry.id}: show, rotate and revoke it by that."
    _print(options, {**report.public(entry, now), "key": secret}, f"{secret}\n\n{message}")


def _list(options: argparse.Namespace) -> None:
    now = _now()
    entries = _file(options).read()
    _print(options, [report.public(entry, now) for entry in entries], report.table(entries, now))


def _show(options: argparse.Namespace) -> None:
    now = _now()
    entry = lifecycle.find({entry.id: entry for entry in _file(options).read()}, options.id)
    _print(options, report.public(entry, now), report.card(entry, now))


def _rotate(options: argparse.Namespace) -> None:
    now = _now()
    with _file(options).changing() as keys:
        secret, entry = lifecycle.rotate(keys, options.id, options.grace, _end(options.expires, now), now)
        old = keys[options.id]
    until = f"is good until {old.expires:%Y-%m-%d %H:%M} UTC" if old.expires and old.expires > now else "is expired"
    message = f"{SHOWN_ONCE} {FOLLOWED}\nIts id is {entry.id}. The old key, {old.id}, {until}."
    result = {**report.public(entry, now), "key": secret, "old": report.public(old, now)}
    _print(options, result, f"{secret}\n\n{message}")


def _revoke(options: argparse.Namespace) -> None:
    now = _now()
    with _file(options).changing() as keys:
        entry = lifecycle.revoke(keys, options.id, now)
    _print(options, report.public(entry, now), f"The key {entry.id} is revoked. {FOLLOWED}")


def _file(options: argparse.Namespace) -> KeyFile:
    """The key file that is meant. Raises ConfigError, and KeyRefusal where the configuration names none."""
    if options.file is not None:
        return KeyFile(options.file)
    _, config = read_serve_config(options.config)
    _refuse_unknown(getattr(options, "pipelines", None), config)
    path = config.key_path()
    if path is None:
        raise KeyRefusal(f"{options.config} names no `key_file`. Add one, or name the file with `--file`.")
    return KeyFile(path)


def _refuse_unknown(pipelines: list[str] | None, config: Config) -> None:
    known = [model.id for model in config.models]
    if unknown := [name for name in pipelines or [] if name not in known]:
        raise KeyRefusal(f"The configuration has no model {unknown[0]!r}. It has {', '.join(known)}.")


def _print_block(secret: str, entry: KeyEntry, as_json: bool) -> None:
    block = entry.model_dump(mode="json", exclude_none=True)
    if as_json:
        print(json.dumps(block | {"key": secret}, indent=2, ensure_ascii=False))
    else:
        print(f"{secret}\n\n{SHOWN_ONCE} Put this under `keys:` in the configuration:\n")
        print(yaml.safe_dump([block], sort_keys=False, allow_unicode=True), end="")


def _print(options: argparse.Namespace, data: Any, text: str) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False) if options.json else text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _end(end: timedelta | datetime | None, now: datetime) -> datetime | None:
    return now + end if isinstance(end, timedelta) else end


def _now() -> datetime:
    return moments.now().replace(microsecond=0)  # what is printed and what is in the file are the same
