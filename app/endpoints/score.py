"""POST /v1/score: how well texts match, pair by pair; and what it shares with rerank."""

from collections.abc import Iterator
from typing import Any

from app.budgets.estimate import BYTES_PER_TOKEN, CountedFields
from app.endpoints.answers import INTEGER, NUMBER, STRING, Component, array, const, record
from app.endpoints.endpoint import Endpoint
from app.parameters import refused_extras
from app.parameters.kinds import Items, Number, Text
from app.parameters.row import MODEL, USER, Parameter, Table
from contract.errors import ApiError
from contract.profile import Profile
from contract.protocol import SCORE_ROUTE

MAX_TEXTS = 1000

MAX_TOKENS_PER_DOC = Parameter(
    "max_tokens_per_doc",
    Number(1, "context_length", integer=True),
    "Tokens of a document that are read; the rest is left out. Default: all; one that is too long is an error.",
    feature="max_tokens_per_doc",
)
USAGE = record({"prompt_tokens": INTEGER, "total_tokens": INTEGER})


def check_lengths(legal: dict[str, Any], _: Profile) -> Iterator[tuple[str, float, float]]:
    """One text with one or many, or as many with as many."""
    first, second = (legal[name] if isinstance(legal[name], list) else [legal[name]] for name in ("text_1", "text_2"))
    if len(first) not in (1, len(second)):
        message = (
            f"`text_1` has {len(first)} texts and `text_2` has {len(second)}. Send one text in `text_1`, which is "
            "compared with each of `text_2`, or as many in both."
        )
        raise ApiError("invalid_value", message, param="text_2")
    return iter(())


def repeated_tokens(query: Any, documents: Any) -> int:
    """About the tokens of a query that is read again with every document but the first. Both as a client sent them."""
    query = query[0] if isinstance(query, list) and len(query) == 1 else query
    if not isinstance(query, str) or not isinstance(documents, list):
        return 0
    return -(-len(query) // BYTES_PER_TOKEN) * max(len(documents) - 1, 0)


def sent(request: dict[str, Any], row: Parameter) -> Any:
    """What a request that is not checked yet has for a parameter, under any of its names."""
    return next((request[name] for name in (row.name, *row.also) if name in request), None)


TEXTS = Items(Text(1), 1, MAX_TEXTS, single=True)
TEXT_1 = Parameter(
    "text_1",
    TEXTS,
    "Text to compare, or several. Also named `queries`.",
    required=True,
    capability="rerank",
    also=("queries", "data_1"),
)
TEXT_2 = Parameter(
    "text_2",
    TEXTS,
    "Text or texts that it is compared with: each with the one of `text_1`, or with its own. Also named `documents`.",
    required=True,
    also=("documents", "items", "data_2"),
)
TABLE = Table(
    rows=(MODEL, TEXT_1, TEXT_2, MAX_TOKENS_PER_DOC, USER, *refused_extras.SCORES),
    rules=(check_lengths,),
)

SCORE = Endpoint(
    path=SCORE_ROUTE,
    summary="Create score",
    answer="A score for each pair of texts.",
    content={
        "application/json": Component(
            "ScoreList",
            record(
                {
                    "id": STRING,
                    "object": const("list"),
                    "created": INTEGER,
                    "model": STRING,
                    "data": array(record({"index": INTEGER, "object": const("score"), "score": NUMBER})),
                    "usage": USAGE,
                }
            ),
        )
    },
    table=TABLE,
    example={"text_1": "What is a boat?", "text_2": ["A small ship."]},
    counted=CountedFields((TEXT_1.name, *TEXT_1.also, TEXT_2.name, *TEXT_2.also)),
    answer_tokens=lambda request, _: repeated_tokens(sent(request, TEXT_1), sent(request, TEXT_2)),
)
