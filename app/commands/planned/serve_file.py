"""Writes the Serve file of a plan where the user keeps configuration, and nothing of the user's away."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import yaml

from app.keys import LOCAL_KEY, hash_key, public_id
from contract.fields import ConfigError
from contract.private_folder import make_folders, write_private

DIGEST = re.compile(r"# As it was written, all below this line has the SHA-256 ([0-9a-f]{64})\.\n")
LONGEST_NAME = 80


def usual_place(ids: list[str]) -> Path:
    """Where the file of models with these ids is kept."""
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return configuration / "portico" / f"{'+'.join(ids)[:LONGEST_NAME].rstrip('.')}.yaml"


def content(entries: list[dict[str, Any]], port: int) -> dict[str, Any]:
    """A whole Serve config file: on this machine only, with the local key."""
    key = {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "name": "local"}
    variables = {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "app.edge:middlewares",
        "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    }
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port},
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "controller_options": {"runtime_env": {"env_vars": variables}},
        "applications": [
            {
                "name": "portico",
                "route_prefix": "/",
                "import_path": "app.builder:build",
                "args": {
                    "logging": {"format": "text"},
                    "keys": [key | {"budget": {"requests_per_minute": 60000}}],
                    "models": entries,
                },
            }
        ],
    }


def write(path: Path, made: dict[str, Any], about: list[str], *, overwrite: bool) -> bool:
    """Write the file, with lines about it in front. False where it was there as it is to be.

    Raises ConfigError where another file is there, or one of ours that was changed by hand; `overwrite` replaces it.
    """
    body = yaml.safe_dump(made, sort_keys=False, width=120)
    digest = hashlib.sha256(body.encode()).hexdigest()
    before = path.read_text() if path.is_file() else None
    if before is not None and _is_as_written(before):
        if before.endswith(f"SHA-256 {digest}.\n{body}"):
            return False
    elif path.exists() and not overwrite:
        raise ConfigError(
            f"{path} is there, and it is no file that this command wrote, or it was changed since. `portico serve "
            f"{path}` serves it as it is; `--overwrite` writes it anew, `--output` another one"
        )
    make_folders(str(path.absolute().parent))
    lines = [*(f"# {line}" for line in about), f"# As it was written, all below this line has the SHA-256 {digest}."]
    write_private(str(path), "\n".join([*lines, body]).encode())
    return True


def _is_as_written(text: str) -> bool:
    mark = DIGEST.search(text)
    return mark is not None and hashlib.sha256(text[mark.end() :].encode()).hexdigest() == mark[1]
