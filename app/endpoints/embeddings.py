"""POST /v1/embeddings."""

from dataclasses import dataclass
from typing import Any

from app.budgets.estimate import CountedFields
from app.endpoints.answers import INTEGER, NUMBER, STRING, Component, array, const, record
from app.endpoints.endpoint import Endpoint
from app.parameters import refused_extras
from app.parameters.kinds import Number, OneOf, Reading, Text, wrong_type, wrong_value
from app.parameters.row import MODEL, USER, Parameter, Table
from contract.profile import Profile
from contract.protocol import EMBEDDINGS_ROUTE
from contract.token_limits import MAX_TOKENS, too_many_tokens

MAX_INPUTS = 2048
MAX_VALUES = 2**19  # each token id is one; more than MAX_TOKENS, so that those who send too many read why


@dataclass(frozen=True, slots=True)
class Inputs:
    """A string, an array of strings, an array of token ids, or an array of such arrays; nothing of it empty."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if isinstance(value, str):
            return Text(1).read(value, name, profile)
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not 1 <= len(value) <= MAX_INPUTS and not _is_token(value[0] if value else None):
            raise wrong_value(name, self.description())
        if tokens_together(value) > MAX_TOKENS:  # before anybody looks at each
            raise too_many_tokens(name)
        kind = type(value[0])
        if kind is int and _are_tokens(value):
            return Reading(value)
        for index, item in enumerate(value):
            place = f"{name}.{index}"
            if type(item) is not kind:
                raise wrong_type(place, "of the same type as the first")
            if kind is int and not _is_token(item):
                raise wrong_value(place, "a token id: 0 or more")
            if kind is not int:
                self._check(item, place)
        return Reading(value)

    def description(self) -> str:
        return f"a string, up to {MAX_INPUTS} strings, token ids, or up to {MAX_INPUTS} arrays of token ids; none empty"

    def schema(self) -> dict[str, Any]:
        tokens = {"type": "array", "minItems": 1, "items": {"type": "integer"}}
        text = {"type": "string", "minLength": 1}
        arrays = [{"type": "array", "minItems": 1, "maxItems": MAX_INPUTS, "items": item} for item in (text, tokens)]
        return {"anyOf": [text, tokens, *arrays]}

    def _check(self, item: Any, place: str) -> None:
        if not isinstance(item, (str, list)):
            raise wrong_type(place, "a string, a token id, or an array of token ids")
        if not item:
            raise wrong_value(place, "a string or an array that is not empty")
        if isinstance(item, list) and not _are_tokens(item):
            raise wrong_type(place, "an array of token ids, each an integer that is 0 or more")


def tokens_together(inputs: list[Any]) -> int:
    """How many token ids are in `inputs`: in its arrays, or in itself."""
    return len(inputs) if _is_token(inputs[0]) else sum(len(one) for one in inputs if isinstance(one, list))


def _are_tokens(values: list[Any]) -> bool:
    """Quickly, for hundreds of thousands."""
    return set(map(type, values)) == {int} and min(values) >= 0


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


TABLE = Table(
    rows=(
        MODEL,
        Parameter("input", Inputs(), "Input text to embed.", required=True, capability="embeddings"),
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
