"""POST /v1/embeddings: what the engine gets of a legal request."""

from typing import Any

import orjson


def engine_body(kept: dict[str, Any], model_id: str) -> bytes:
    return orjson.dumps(kept | {"model": model_id})
