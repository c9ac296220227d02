"""What a request of rerank or score brings, as every engine reads it; what of it no engine takes; and its answer."""

import time
from typing import Any, NamedTuple

import orjson

from contract.errors import ApiError
from contract.protocol import RERANK_ROUTE
from contract.token_limits import MAX_TOKENS, too_many_tokens
from deployments.long_texts import COUNTED_AT_ONCE, MAX_CHARACTERS_PER_TOKEN, endless, too_long

TRIAL = {"query": "ready?", "documents": ["ready"]}  # the smallest request of rerank


class NoRerankerError(ValueError):
    """The model gives a pair of texts no score, or more than one."""


class Pairs(NamedTuple):
    """Queries and documents, and what the client calls them."""

    queries: list[str]  # one, or one for each document
    documents: list[str]
    query_name: str
    document_name: str
    max_document_tokens: int | None = None  # of a document that are read

    def each(self) -> list[tuple[str, str]]:
        """Every pair that gets a score, in the order of the documents."""
        queries = self.queries * len(self.documents) if len(self.queries) == 1 else self.queries
        return list(zip(queries, self.documents, strict=True))


class Counted(NamedTuple):
    """Pairs that fit the model, and the tokens of each."""

    pairs: Pairs
    tokens: list[int]


class Scored(NamedTuple):
    """The scores of one request, in the order of its documents, and the tokens that it took."""

    scores: list[float]
    tokens: int

    @property
    def usage(self) -> dict[str, int]:
        return {"prompt_tokens": self.tokens, "total_tokens": self.tokens}


def pairs_of(route: str, parameters: dict[str, Any]) -> Pairs:
    """The texts of a request on that route."""
    names = ("query", "documents") if route == RERANK_ROUTE else ("text_1", "text_2")
    queries, documents = (value if isinstance(value := parameters[name], list) else [value] for name in names)
    return Pairs(queries, documents, *names, parameters.get("max_tokens_per_doc"))


def counted(pairs: Pairs, tokenizer: Any, limit: int) -> Counted | ApiError:
    """The pairs with their tokens, documents cut as the client wishes; or what is wrong with the first bad text.

    `tokenizer` is transformers'; `limit` is the model's, of a pair.
    """
    frame = int(tokenizer.num_special_tokens_to_add(pair=True))
    queries = _query_lengths(pairs, tokenizer, limit - frame)
    if isinstance(queries, ApiError):
        return queries
    documents: list[str] = []
    tokens: list[int] = []
    for start in range(0, len(pairs.documents), COUNTED_AT_ONCE):
        some = _cut(pairs.documents[start : start + COUNTED_AT_ONCE], tokenizer, pairs.max_document_tokens)
        for index, one in enumerate(some, start):
            if fault := endless(one, f"{pairs.document_name}.{index}", limit):
                return fault
        for index, length in enumerate(_lengths(some, tokenizer), start):
            query = queries[index if len(queries) > 1 else 0]
            if query + length + frame > limit:
                place = f"{pairs.document_name}.{index}"
                message = (
                    f"`{place}` has {length} tokens and its query {query}; the model takes {limit - frame} together"
                )
                return too_long(message, place)
            tokens.append(query + length + frame)
        if sum(tokens) > MAX_TOKENS:
            return too_many_tokens(pairs.document_name)
        documents += some
    return Counted(pairs._replace(documents=documents), tokens)


def answer(route: str, model_id: str, request_id: str, parameters: dict[str, Any], scored: Scored) -> bytes:
    """The body of a whole answer on that route. `parameters` are as the client sent them."""
    if route != RERANK_ROUTE:
        data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scored.scores)]
        found = {"id": f"score-{request_id}", "object": "list", "created": int(time.time()), "data": data}
        return orjson.dumps(found | {"model": model_id, "usage": scored.usage})
    order = sorted(range(len(scored.scores)), key=lambda index: -scored.scores[index])
    documents = parameters["documents"] if parameters.get("return_documents", True) else None
    results = [
        {"index": index, "relevance_score": scored.scores[index]}
        | ({"document": {"text": documents[index]}} if documents else {})
        for index in order[: parameters.get("top_n")]
    ]
    return orjson.dumps({"id": f"rerank-{request_id}", "model": model_id, "results": results, "usage": scored.usage})


def _query_lengths(pairs: Pairs, tokenizer: Any, limit: int) -> list[int] | ApiError:
    """Tokens of each query, none of which leaves no room for a document."""
    places = [f"{pairs.query_name}.{index}" for index in range(len(pairs.queries))]
    if len(places) == 1:
        places = [pairs.query_name]
    for query, place in zip(pairs.queries, places, strict=True):
        if fault := endless(query, place, limit):
            return fault
    lengths = _lengths(pairs.queries, tokenizer)
    for length, place in zip(lengths, places, strict=True):
        if length >= limit:
            return too_long(f"`{place}` has {length} tokens; the model takes {limit} with a document", place)
    return lengths


def _lengths(texts: list[str], tokenizer: Any) -> list[int]:
    encoded = tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


def _cut(texts: list[str], tokenizer: Any, most: int | None) -> list[str]:
    """The beginning of each text, of so many tokens at most."""
    if most is None:
        return texts
    texts = [text[: most * MAX_CHARACTERS_PER_TOKEN] for text in texts]
    encoded = tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False, return_offsets_mapping=True)
    return [
        text if len(offsets) <= most else text[: offsets[most - 1][1]]
        for text, offsets in zip(texts, encoded["offset_mapping"], strict=True)
    ]
