"""A Serve config file for clients on other machines: it listens where they reach it, and takes keys of its own."""

from collections.abc import Mapping
from pathlib import Path

from app.commands.planned import serve_file
from app.config.service import args_of, read_yaml
from contract.fields import ConfigError


def exposed(path: Path, host: str | None, key_file: Path | None) -> Path:
    """The file at `path` with that address and that key file, written where the user keeps configuration.

    What is None stays as it is; a key file takes the place of keys that stand in the file. Raises ConfigError.
    """
    if host is None and key_file is None:
        return path
    content = read_yaml(path)
    args = args_of(content, path)
    if not isinstance(args, Mapping):
        raise ConfigError(f"{path}: `applications[0].args` is no mapping; `portico check {path}` says what it may hold")
    if host is not None:
        content["http_options"] = (content.get("http_options") or {}) | {"host": host}
    if key_file is not None:
        kept = {name: value for name, value in args.items() if name != "keys"}
        content["applications"][0]["args"] = kept | {"key_file": str(key_file.absolute())}
    written = serve_file.usual_place([f"{path.stem}-exposed"])
    about = [f"{path} as `portico serve` was told to serve it. It is written anew with each start: change that file."]
    serve_file.write(written, content, about, overwrite=True)
    return written
