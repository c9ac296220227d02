"""A module of ours that is asked in a process of its own: what it loads is large, or prints as it likes."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from contract.project import PROJECT_FOLDER


def ask(module: str, question: Any, timeout_s: float, environment: Mapping[str, str] | None = None) -> Any:
    """The last line that the module writes, which is JSON, as `question` is that it reads; None where it cannot run."""
    try:
        result = subprocess.run(  # noqa: S603 - no shell; the input is read as JSON
            [sys.executable, "-m", module],
            input=orjson.dumps(question, default=str),
            capture_output=True,
            cwd=PROJECT_FOLDER,
            env=os.environ | (environment or {}),
            timeout=timeout_s,
            check=True,
        )
        return orjson.loads(result.stdout.rpartition(b"\n")[2])
    except (subprocess.SubprocessError, orjson.JSONDecodeError):
        return None
