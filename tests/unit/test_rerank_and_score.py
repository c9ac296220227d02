"""POST /v1/rerank and /v1/score: what their clients may send, and what a request may cost."""

from typing import Any

import pytest

from app.budgets.estimate import Estimator
from app.endpoints.endpoint import Endpoint
from app.endpoints.rerank import RERANK
from app.endpoints.score import MAX_TEXTS, SCORE
from app.parameters.adjust import Adjusted, adjust
from contract.errors import ApiError
from contract.profile import Profile

PROFILE = Profile("vllm", frozenset({"rerank"}), limits={"context_length": 256})
DOCUMENTS = ["a", "b", "c"]


def sent(endpoint: Endpoint, **fields: Any) -> Adjusted:
    return adjust(endpoint.table, fields, PROFILE)


def refused(endpoint: Endpoint, **fields: Any) -> tuple[str, str | None]:
    with pytest.raises(ApiError) as caught:
        sent(endpoint, **fields)
    return caught.value.code, caught.value.param


def test_documents_are_strings_or_objects_with_a_text_whose_other_fields_are_reported() -> None:
    found = sent(RERANK, query="q", documents=["a", {"text": "b"}, {"text": "c", "title": "C"}])
    assert found.engine == {"query": "q", "documents": DOCUMENTS}
    assert [(one.name, one.action) for one in found.adjustments] == [("documents.2.title", "drop")]


def test_a_field_of_a_document_that_is_null_is_not_there() -> None:
    documents = [{"text": "a", "title": None}, {"text": "b"}, "c"]
    found = sent(RERANK, query="q", documents=documents, strict_params=True)
    assert found.engine == {"query": "q", "documents": DOCUMENTS}
    assert found.adjustments == ()


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (RERANK, {"query": "q", "texts": DOCUMENTS}),
        (SCORE, {"queries": "q", "documents": DOCUMENTS}),
        (SCORE, {"queries": "q", "items": DOCUMENTS}),
        (SCORE, {"data_1": "q", "data_2": DOCUMENTS}),
    ],
)
def test_other_names_of_the_texts(endpoint: Endpoint, fields: Any) -> None:
    found = sent(endpoint, **fields)
    assert list(found.engine.values()) == ["q", DOCUMENTS]
    assert set(found.engine) in ({"query", "documents"}, {"text_1", "text_2"})
    assert found.adjustments == ()


def test_one_parameter_under_two_names_is_refused() -> None:
    assert refused(RERANK, query="q", documents=["a"], texts=["a"]) == ("invalid_value", "texts")
    assert refused(SCORE, text_1="q", text_2="a", documents="a") == ("invalid_value", "documents")


@pytest.mark.parametrize(
    ("documents", "fault"),
    [
        ([], ("invalid_value", "documents")),
        (["a"] * (MAX_TEXTS + 1), ("invalid_value", "documents")),
        ("a", ("invalid_type", "documents")),
        (["a", ""], ("invalid_value", "documents.1")),
        (["a", 1], ("invalid_type", "documents.1")),
        ([{"title": "a"}], ("invalid_type", "documents.0")),
        ([{"text": ""}], ("invalid_value", "documents.0.text")),
        ([{"text": ["a"]}], ("invalid_type", "documents.0.text")),
    ],
    ids=["none", "too many", "a string", "an empty one", "a number", "no text", "an empty text", "no string"],
)
def test_documents_that_are_refused(documents: Any, fault: tuple[str, str]) -> None:
    assert refused(RERANK, query="q", documents=documents) == fault


def test_as_many_documents_as_there_may_be() -> None:
    assert len(sent(RERANK, query="q", documents=["a"] * MAX_TEXTS).engine["documents"]) == MAX_TEXTS


def test_what_is_out_of_range_is_clamped() -> None:
    found = sent(RERANK, query="q", documents=DOCUMENTS, top_n=0, max_tokens_per_doc=4096)
    assert (found.engine["top_n"], found.engine["max_tokens_per_doc"]) == (1, 256)
    assert [(one.name, one.action) for one in found.adjustments] == [
        ("top_n", "clamp"),
        ("max_tokens_per_doc", "clamp"),
    ]


@pytest.mark.parametrize("fields", [{"top_n": 9}, {"rank_fields": ["text"]}, {"use_activation": True}])
def test_what_asks_for_nothing_else_changes_nothing(fields: Any) -> None:
    assert sent(RERANK, query="q", documents=DOCUMENTS, **fields).adjustments == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"truncate_prompt_tokens": 9},
        {"rank_fields": ["title"]},
        {"max_chunks_per_doc": 3},
        {"return_embeddings": True},
        {"instruction": "Find it."},
        {"use_activation": False},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_would_change_the_scores_is_refused_by_name(fields: Any) -> None:
    assert refused(RERANK, query="q", documents=DOCUMENTS, **fields) == ("unsupported_parameter", next(iter(fields)))


@pytest.mark.parametrize(
    ("first", "second"), [("a", "b"), ("a", DOCUMENTS), (["a"], DOCUMENTS), (DOCUMENTS, DOCUMENTS), (["a"], "b")]
)
def test_one_text_with_one_or_many_or_as_many_with_as_many(first: Any, second: Any) -> None:
    assert sent(SCORE, text_1=first, text_2=second).engine == {"text_1": first, "text_2": second}


@pytest.mark.parametrize(("first", "second"), [(["a", "b"], DOCUMENTS), (["a", "b"], "c"), (["a", "b"], ["c"])])
def test_other_numbers_of_texts_are_refused(first: Any, second: Any) -> None:
    assert refused(SCORE, text_1=first, text_2=second) == ("invalid_value", "text_2")


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (RERANK, {"query": "q" * 40, "documents": ["d" * 400, {"text": "d" * 400}]}),
        (RERANK, {"query": "q" * 40, "texts": ["d" * 400, "d" * 400]}),
        (SCORE, {"text_1": "q" * 40, "text_2": ["d" * 400, "d" * 400]}),
        (SCORE, {"queries": ["q" * 40], "documents": ["d" * 400, "d" * 400]}),
        (SCORE, {"text_1": ["q" * 40, "q" * 40], "text_2": ["d" * 400, "d" * 400]}),
    ],
)
def test_a_query_is_reserved_once_for_each_document(endpoint: Endpoint, fields: Any) -> None:
    found = Estimator().estimate("alpha", fields, endpoint.counted, 0)
    assert found.prompt + endpoint.answer_tokens(fields, PROFILE) == 2 * (10 + 100)


@pytest.mark.parametrize("fields", [{}, {"query": 1}, {"query": [], "documents": {}}, {"text_1": [[]], "text_2": [1]}])
def test_the_reservation_of_what_is_not_legal_takes_no_harm(fields: Any) -> None:
    assert [one.answer_tokens(fields, PROFILE) for one in (RERANK, SCORE)] == [0, 0]
