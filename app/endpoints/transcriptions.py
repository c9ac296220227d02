"""POST /v1/audio/transcriptions: how a request is read, what the engine gets of it, how a broken stream is told."""

from typing import Any

import orjson

from app.config.service import Limits
from app.endpoints.audio_parameters import TRANSCRIPTIONS
from app.http.body import Receive
from app.http.multipart import read_form
from app.parameters.form import request_of
from contract.errors import ApiError
from contract.protocol import join


async def read(receive: Receive, headers: dict[str, str], limits: Limits) -> dict[str, Any]:
    """The request in a multipart form; `file` is its file's bytes. Raises ApiError."""
    form = await read_form(receive, headers, "file", limits.max_file_bytes)
    return request_of(TRANSCRIPTIONS, form.fields) | {"file": form.file}


def engine_body(kept: dict[str, Any], model_id: str) -> bytes:
    """The file as it is, behind everything else."""
    fields = {name: value for name, value in kept.items() if name != "file"}
    return join(orjson.dumps(fields | {"model": model_id}), kept["file"])


def failure_event(error: ApiError, _first: bytes, _events: int) -> bytes:
    """An event of the type `error` with the error's envelope."""
    return b"event: error\ndata: " + error.body() + b"\n\n"
