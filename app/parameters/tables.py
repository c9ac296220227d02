"""All tables by the name of their route's kind, and the smallest legal request of each."""

from typing import Any

from app.parameters.chat import CHAT
from app.parameters.responses import RESPONSES
from app.parameters.row import Table

TABLES: dict[str, Table] = {"chat": CHAT, "responses": RESPONSES}

EXAMPLES: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hello!"}]},
    "responses": {"input": "Hello!"},
}
