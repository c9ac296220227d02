"""POST /v1/embeddings."""

from app.budgets.estimate import CountedFields
from app.endpoints.answers import INTEGER, NUMBER, STRING, Component, array, const, record
from app.endpoints.endpoint import Endpoint
from app.parameters import refused_extras
from app.parameters.kinds import Number, OneOf
from app.parameters.row import MODEL, USER, Parameter, Table
from app.parameters.texts_or_tokens import MAX_VALUES, TextsOrTokens
from contract.protocol import EMBEDDINGS_ROUTE

MAX_INPUTS = 2048

TABLE = Table(
    rows=(
        MODEL,
        Parameter("input", TextsOrTokens(MAX_INPUTS), "Input text to embed.", required=True, capability="embeddings"),
        Parameter(
            "encoding_format", OneOf(("float", "base64")), "Format of the embeddings: numbers, or base64 of floats."
        ),
        Parameter(
            "dimensions",
            Number(1, "dimensions", integer=True),
            "Number of dimensions of the embeddings.",
            feature="dimensions",
        ),
        USER,
        *refused_extras.EMBEDDINGS,
    )
)

EMBEDDINGS = Endpoint(
    path=EMBEDDINGS_ROUTE,
    summary="Create embeddings",
    answer="A list of embeddings.",
    content={
        "application/json": Component(
            "EmbeddingList",
            record(
                {
                    "object": const("list"),
                    "model": STRING,
                    "data": array(
                        record(
                            {
                                "object": const("embedding"),
                                "index": INTEGER,
                                "embedding": {"anyOf": [array(NUMBER), STRING]},
                            }
                        )
                    ),
                    "usage": record({"prompt_tokens": INTEGER, "total_tokens": INTEGER}),
                }
            ),
        )
    },
    table=TABLE,
    example={"input": "Hello!"},
    counted=CountedFields(("input",)),
    max_values=MAX_VALUES,
)
