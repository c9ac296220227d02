"""POST /v1/rerank, as Jina's and Cohere's clients call it; the second version of Cohere's has it at /v2/rerank."""

from dataclasses import dataclass
from typing import Any

from app.budgets.estimate import CountedFields
from app.endpoints.answers import INTEGER, NUMBER, STRING, Component, array, record
from app.endpoints.endpoint import Endpoint
from app.endpoints.score import MAX_TEXTS, MAX_TOKENS_PER_DOC, USAGE, repeated_tokens, sent
from app.parameters import refused_extras
from app.parameters.kinds import UNKNOWN, Flag, Number, Reading, Text, wrong_type, wrong_value
from app.parameters.row import MODEL, USER, Parameter, Table, refused
from contract.profile import Profile
from contract.protocol import RERANK_ROUTE


@dataclass(frozen=True, slots=True)
class Documents:
    """Strings, or objects with a `text`, whose other fields are dropped; read as strings. None of them is empty."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not 1 <= len(value) <= MAX_TEXTS:
            raise wrong_value(name, self.description())
        texts: list[str] = []
        dropped: list[tuple[str, str]] = []
        for index, one in enumerate(value):
            place = f"{name}.{index}"
            if not isinstance(one, str):
                if not isinstance(one, dict) or "text" not in one:
                    raise wrong_type(place, "a string, or an object with a `text`")
                others = (field for field, inner in one.items() if field != "text" and inner is not None)
                dropped += [(f"{index}.{field}", UNKNOWN) for field in others]
                one, place = one["text"], f"{place}.text"  # noqa: PLW2901
            texts.append(Text(1).read(one, place, profile).value)
        return Reading(texts, dropped=tuple(dropped))

    def description(self) -> str:
        return (
            f"an array of 1 to {MAX_TEXTS} documents, each a string that is not empty, or an object with one in `text`"
        )

    def schema(self) -> dict[str, Any]:
        text = {"type": "string", "minLength": 1}
        alone = {"type": "object", "properties": {"text": text}, "required": ["text"]}
        return {"type": "array", "minItems": 1, "maxItems": MAX_TEXTS, "items": {"anyOf": [text, alone]}}


QUERY = Parameter("query", Text(1), "Query to sort the documents by.", required=True, capability="rerank")
DOCUMENTS = Parameter(
    "documents", Documents(), "Documents to sort. Also named `texts`.", required=True, also=("texts",)
)
TABLE = Table(
    rows=(
        MODEL,
        QUERY,
        DOCUMENTS,
        Parameter(
            "top_n",
            Number(1, MAX_TEXTS, integer=True),
            "How many of the most relevant to return at most. Default: all.",
        ),
        Parameter("return_documents", Flag(), "Whether each result has its document. Default: true."),
        MAX_TOKENS_PER_DOC,
        USER,
        refused("rank_fields", "send documents as strings, or as objects with a `text`.", absent=(["text"], [])),
        refused("max_chunks_per_doc", "a document is read whole; `max_tokens_per_doc` reads its beginning."),
        refused("relevant_spans", "a result has the score of its document as a whole.", absent=({"mode": "disabled"},)),
        refused("return_embeddings", "/v1/embeddings has them.", absent=(False,)),
        *refused_extras.SCORES,
    )
)

RERANK = Endpoint(
    path=RERANK_ROUTE,
    also=("/v2/rerank",),
    summary="Create rerank",
    answer="The documents, the most relevant first.",
    content={
        "application/json": Component(
            "Rerank",
            record(
                {
                    "id": STRING,
                    "model": STRING,
                    "results": array(
                        record({"index": INTEGER, "relevance_score": NUMBER}, {"document": record({"text": STRING})})
                    ),
                    "usage": USAGE,
                }
            ),
        )
    },
    table=TABLE,
    example={"query": "What is a boat?", "documents": ["A small ship."]},
    counted=CountedFields((QUERY.name, DOCUMENTS.name, *DOCUMENTS.also)),
    answer_tokens=lambda request, _: repeated_tokens(request.get(QUERY.name), sent(request, DOCUMENTS)),
)
