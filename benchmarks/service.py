"""A running service, for the other files here: tiny.yaml with other entries, on a port of its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from app.config.service import APPLICATION_POLICY
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER

TINY_CONFIG = PROJECT_FOLDER / "serve_configs" / "tiny.yaml"
LOCAL_CONFIG = PROJECT_FOLDER / "serve_configs" / "local.yaml"
HEADERS = {"authorization": f"Bearer {LOCAL_KEY}"}
PORT = 8123
URL = f"http://127.0.0.1:{PORT}"


def local_entry(model_id: str) -> dict[str, Any]:
    """The entry of tiny.yaml for that model, to be changed and served."""
    return config_entry(TINY_CONFIG, model_id)


def config_entry(config: Path, model_id: str) -> dict[str, Any]:
    """The entry of a file of `serve_configs` for that model, to be changed and served."""
    models = yaml.safe_load(config.read_text())["applications"][0]["args"]["models"]
    return next(dict(model) for model in models if model["id"] == model_id)


@contextmanager
def serving(*entries: dict[str, Any]) -> Iterator[str]:
    """Serve the models of `entries` at the URL that is given, until the end of the block."""
    content = yaml.safe_load(TINY_CONFIG.read_text())
    content["http_options"]["port"] = PORT
    application = content["applications"][0]
    application["args"]["models"] = list(entries)
    if any(entry.get("mode") == "flex" for entry in entries):
        application["autoscaling_policy"] = {"policy_function": APPLICATION_POLICY}
    with tempfile.TemporaryDirectory(prefix="portico-") as folder:
        config = Path(folder) / "serve.yaml"
        config.write_text(yaml.safe_dump(content))
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "app", "serve", str(config)],
            env=os.environ | {"RAY_TMPDIR": folder, "XDG_STATE_HOME": folder},
            cwd=PROJECT_FOLDER,
        )
        try:
            _wait_ready(process)
            yield URL
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _wait_ready(process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            if httpx.get(f"{URL}/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise RuntimeError("the service did not start")
