"""What is printed once a service is ready: all that one needs to use it, and to change it."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from app.commands.serve_probe import ModelState
from app.config.model_entry import ModelEntry
from app.config.service import Config
from app.keys import LOCAL_KEY
from app.keys.local import is_local

FIRST_QUESTION = "What is the capital of France?"  # without a quote: it stands in a line for a shell
PORTICO = Path(sys.executable).with_name("portico")


def banner(config: Config, host: str, port: int, path: Path, models: Sequence[ModelState]) -> str:
    """`models` as they are now, some of them up."""
    origin = f"http://{host}:{port}"
    base_url = f"{origin}/v1"
    page = f"  Page      {origin}/\n" if config.console.enabled else ""
    local = any(map(is_local, config.keys))
    key = LOCAL_KEY if local else "YOUR_KEY"
    up = [entry for entry in config.models for model in models if model.id == entry.id and model.is_up]
    return (
        f"\nPortico is ready{_failed(models)}.\n"
        f"{page}"
        f"  Base URL  {base_url}\n"
        f"  API key   {LOCAL_KEY if local else 'one of those you made'}\n"
        f"  Models    {', '.join(map(_shown, models))}\n\n"
        f"curl {base_url}{_first_request(up)} -H 'Authorization: Bearer {key}'\n\n"
        f"Ctrl-C stops it. After a change of its file:\n"
        f"{deploy_command(path)}\n"
    )


def deploy_command(path: Path) -> str:
    """What has a running service follow a change of its file."""
    return shlex.join([os.path.relpath(PORTICO), "deploy", str(path)])


def _failed(models: Sequence[ModelState]) -> str:
    failed = sum(model.is_settled and not model.is_up for model in models)
    return f", and {failed} of {len(models)} models failed" if failed else ""


def _shown(model: ModelState) -> str:
    """Its id; where it is not up, that too."""
    if model.is_up:
        return model.id
    return f"{model.id} ({model.state if model.is_settled else 'starting'})"


def _first_request(models: list[ModelEntry]) -> str:
    """What follows the base URL in a curl line: a chat if one can be had, else the list of models."""
    chat = next((model.id for model in models if model.task == "chat"), None)
    if chat is None:
        return "/models"
    message = {"role": "user", "content": FIRST_QUESTION}
    request = {"model": chat, "messages": [message], "temperature": 0, "max_tokens": 64, "stream": True}
    body = orjson.dumps(request).decode()
    return f"/chat/completions -N -d '{body}'"
