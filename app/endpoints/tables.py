"""All tables by the name of their route's kind, and the smallest legal request of each."""

from typing import Any

from app.endpoints.audio_parameters import SPEECH, TRANSCRIPTIONS
from app.endpoints.chat_parameters import CHAT
from app.endpoints.embeddings_parameters import EMBEDDINGS
from app.endpoints.images_parameters import IMAGES
from app.endpoints.responses_parameters import RESPONSES
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
