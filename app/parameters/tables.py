"""All tables by the name of their route's kind, and the smallest legal request of each."""

from typing import Any

from app.parameters.audio import SPEECH, TRANSCRIPTIONS
from app.parameters.chat import CHAT
from app.parameters.embeddings import EMBEDDINGS
from app.parameters.images import IMAGES
from app.parameters.responses import RESPONSES
from app.parameters.row import Table

TABLES: dict[str, Table] = {
    "chat": CHAT,
    "responses": RESPONSES,
    "embeddings": EMBEDDINGS,
    "images": IMAGES,
    "transcriptions": TRANSCRIPTIONS,
    "speech": SPEECH,
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hello!"}]},
    "responses": {"input": "Hello!"},
    "embeddings": {"input": "Hello!"},
    "images": {"prompt": "A small boat."},
    "transcriptions": {"file": b""},
    "speech": {"input": "Hello!"},
}
