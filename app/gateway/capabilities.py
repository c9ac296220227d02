"""The query of GET /v1/models: what each model that is listed must be able to do."""

from typing import get_args
from urllib.parse import parse_qsl

from app.config.model_entry import Capability
from contract.errors import ApiError, shown

NAMES = ("capability", "capability[]")  # OpenAI's clients write the second for a list
LEGAL = get_args(Capability)


def wanted_capabilities(query: bytes) -> frozenset[str]:
    """The capabilities that a query names, one by one or with commas between. Raises ApiError for any other word."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    wanted = frozenset(one for name, value in pairs if name in NAMES for one in value.split(","))
    if unknown := sorted(wanted - set(LEGAL)):
        message = f"There is no capability `{shown(unknown[0])}`. Legal are: {', '.join(LEGAL)}."
        raise ApiError("invalid_value", message, param="capability")
    return wanted
