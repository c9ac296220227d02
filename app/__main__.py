"""The command line: `python -m app COMMAND`."""

import argparse
import sys
from pathlib import Path

from app import local_service
from app.config import PROJECT_FOLDER, ConfigError, read_serve_config
from app.keys import hash_key, new_key, public_id
from app.parameters.page import page

DOCS_PAGE = PROJECT_FOLDER / "docs" / "parameters.md"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app", description="Portico's command line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the service of a config file in the foreground")
    serve.add_argument("file", type=Path, help="a Serve config file, such as serve_configs/local.yaml")
    serve.set_defaults(run=lambda options: local_service.serve(options.file))

    check = commands.add_parser("check", help="say whether a config file is right, and what is wrong in it")
    check.add_argument("file", type=Path)
    check.set_defaults(run=lambda options: _check(options.file))

    docs = commands.add_parser("docs", help="write docs/parameters.md from the parameter table")
    docs.set_defaults(run=lambda _: _write_docs())

    keys = commands.add_parser("keys", help="API keys").add_subparsers(required=True, metavar="COMMAND")
    create = keys.add_parser("create", help="make a key; it is shown once, and the configuration gets its hash")
    create.add_argument("--name", default="", help="whose key it is")
    create.set_defaults(run=lambda options: _create_key(options.name))

    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except ConfigError as error:
        print(f"The configuration is wrong:\n{error}", file=sys.stderr)
        return 2


def _check(path: Path) -> int:
    content, config = read_serve_config(path)
    host = (content.get("http_options") or {}).get("host", local_service.DEFAULT_HOST)
    local_service.check_local_key(config, host)
    print(f"{path} is right: {len(config.models)} models, {len(config.keys)} keys.")
    return 0


def _write_docs() -> int:
    DOCS_PAGE.write_text(page())
    print(f"wrote {DOCS_PAGE.relative_to(PROJECT_FOLDER)}")
    return 0


def _create_key(name: str) -> int:
    key = new_key()
    print(f"{key}\n\nThis is shown once. Put this under `keys:` in the configuration:\n")
    print(f"- id: {public_id(key)}\n  sha256: {hash_key(key)}\n  name: {name!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
