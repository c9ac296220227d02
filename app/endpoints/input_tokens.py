"""POST /v1/responses/input_tokens: how many tokens the input of a response has, counted without generating any."""

from typing import Any

import orjson

from app.budgets.estimate import CountedFields
from app.endpoints.answers import INTEGER, Component, const, record
from app.endpoints.custom_tools import RESPONSES_TOOLS
from app.endpoints.endpoint import Endpoint
from app.endpoints.responses import RESPONSES, body_of
from app.endpoints.tokenize import bound_texts
from app.parameters.row import Parameter, Table, Treatment, ignored
from contract.custom_tools import INPUT_GRAMMARS
from contract.profile import Profile
from contract.protocol import INPUT_TOKENS_ROUTE

# The parameters of a response that are in its prompt, or decide whether others are.
IN_THE_PROMPT = frozenset(
    {"input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning"}
    | {"chat_template_kwargs"}
)
GUIDING = frozenset({"structured_outputs", INPUT_GRAMMARS})  # the output alone


def counted(row: Parameter) -> Parameter:
    """A row of a response's table as it is here, so that the body of a response may be sent as it is."""
    if row.treatment is not Treatment.FORWARD or row.name in IN_THE_PROMPT:
        return row
    return ignored(row.name, "It is not in the prompt.")


def check_size(legal: dict[str, Any], _: Profile) -> tuple[()]:
    bound_texts(legal, ("input", "instructions", "tools"))
    return ()


def engine_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """As of a response, without what only guides its output."""
    body = body_of(parameters, model_id)
    return orjson.dumps({name: value for name, value in body.items() if name not in GUIDING})


INPUT_TOKENS = Endpoint(
    path=INPUT_TOKENS_ROUTE,
    summary="Count input tokens",
    answer="The number of tokens of the input, also where it exceeds the context.",
    content={
        "application/json": Component(
            "InputTokens", record({"object": const("response.input_tokens"), "input_tokens": INTEGER})
        )
    },
    table=Table(
        rows=tuple(map(counted, RESPONSES.table.rows)),
        rules=(RESPONSES_TOOLS.check, RESPONSES_TOOLS.drop_formats, check_size),
    ),
    example=RESPONSES.example,
    counted=CountedFields(()),
    engine_body=engine_body,
    media_bytes=RESPONSES.media_bytes,
    images=RESPONSES.images,
)
