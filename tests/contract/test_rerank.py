"""POST /v1/rerank and /v1/score, as their clients call them, on a real cross-encoder of random weights."""

from typing import Any

import httpx
import pytest

from tests.answer_schemas import check_answer
from tests.contract.conftest import EMBEDDING_MODEL, MESSAGES, MODEL, RERANKING_MODEL
from tests.unit.conftest import assert_error

RERANK, SCORE = "/v1/rerank", "/v1/score"
QUERY = "the fox"
DOCUMENTS = ["a gateway reads", "the quick brown fox", "paris"]


def body_of(**changes: Any) -> dict[str, Any]:
    return {"model": RERANKING_MODEL, "query": QUERY, "documents": DOCUMENTS} | changes


def scores_of(http: httpx.Client, **changes: Any) -> list[float]:
    """By /v1/score, in the order of the documents."""
    body = {"model": RERANKING_MODEL, "text_1": QUERY, "text_2": DOCUMENTS} | changes
    return [one["score"] for one in http.post(SCORE, json=body).json()["data"]]


def test_documents_come_the_most_relevant_first(http: httpx.Client) -> None:
    response = http.post(RERANK, json=body_of())
    answer = response.json()
    assert answer["model"] == RERANKING_MODEL
    scores = scores_of(http)
    order = sorted(range(3), key=lambda index: -scores[index])
    assert [one["index"] for one in answer["results"]] == order
    assert [one["relevance_score"] for one in answer["results"]] == pytest.approx([scores[index] for index in order])
    assert [one["document"] for one in answer["results"]] == [{"text": DOCUMENTS[index]} for index in order]
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 15
    assert "x-param-adjustments" not in response.headers
    check_answer(http.get("/openapi.json").json(), RERANK, "application/json", response.content)


def test_scores_come_in_the_order_of_their_texts(http: httpx.Client) -> None:
    response = http.post(SCORE, json={"model": RERANKING_MODEL, "text_1": QUERY, "text_2": DOCUMENTS})
    answer = response.json()
    assert [(one["object"], one["index"]) for one in answer["data"]] == [("score", 0), ("score", 1), ("score", 2)]
    assert len({one["score"] for one in answer["data"]}) == 3
    check_answer(http.get("/openapi.json").json(), SCORE, "application/json", response.content)
    one_by_one = [scores_of(http, text_2=document)[0] for document in DOCUMENTS]
    each_with_its_own = scores_of(http, text_1=[QUERY] * 3)
    by_newer_names = scores_of(http, text_1=None, text_2=None, queries=QUERY, documents=DOCUMENTS)
    scores = pytest.approx([one["score"] for one in answer["data"]], abs=1e-6)
    assert one_by_one == scores
    assert each_with_its_own == scores
    assert by_newer_names == scores


def test_objects_and_other_names_mean_the_same(http: httpx.Client) -> None:
    expected = http.post(RERANK, json=body_of()).json()["results"]
    objects = http.post(RERANK, json=body_of(documents=[{"text": one, "id": "7"} for one in DOCUMENTS]))
    assert objects.json()["results"] == expected
    assert objects.headers["x-param-adjustments"].startswith('documents.0.id;action=drop;reason="unknown parameter"')
    assert http.post(RERANK, json=body_of(documents=None, texts=DOCUMENTS)).json()["results"] == expected


def test_the_path_of_cohere_s_second_version_is_the_same_route(http: httpx.Client) -> None:
    body = body_of(max_tokens_per_doc=64)
    expected, found = (http.post(path, json=body) for path in (RERANK, "/v2/rerank"))
    assert found.json()["results"] == expected.json()["results"]
    check_answer(http.get("/openapi.json").json(), "/v2/rerank", "application/json", found.content)
    refused = http.post("/v2/rerank", json=body, headers={"authorization": ""})
    assert_error(refused, 401, "authentication_error", "invalid_api_key")


def test_the_best_ones_without_their_documents(http: httpx.Client) -> None:
    results = http.post(RERANK, json=body_of(top_n=2, return_documents=False)).json()["results"]
    assert [set(one) for one in results] == [{"index", "relevance_score"}] * 2


def test_what_is_changed_is_reported(http: httpx.Client) -> None:
    response = http.post(RERANK, json=body_of(top_n=0, max_tokens_per_doc=4096, x=1))
    assert response.headers["x-param-adjustments"] == (
        "top_n;action=clamp;from=0;to=1, max_tokens_per_doc;action=clamp;from=4096;to=256, "
        'x;action=drop;reason="unknown parameter"'
    )
    strict = http.post(RERANK, json=body_of(top_n=0, strict_params=True))
    assert_error(strict, 400, "invalid_request_error", "invalid_value", "top_n")


@pytest.mark.parametrize("document", ["fox " * 4000, "fox " * 300])
def test_a_long_document_is_an_error_or_is_cut(http: httpx.Client, document: str) -> None:
    too_long = http.post(RERANK, json=body_of(documents=["paris", document]))
    assert_error(too_long, 422, "invalid_request_error", "context_length_exceeded", "documents.1")
    cut = http.post(RERANK, json=body_of(documents=["paris", document], max_tokens_per_doc=64))
    assert {one["document"]["text"] for one in cut.json()["results"]} == {"paris", document}


def test_as_many_documents_as_there_may_be(http: httpx.Client) -> None:
    results = http.post(RERANK, json=body_of(documents=["the dog", *["paris"] * 999])).json()["results"]
    assert sorted(one["index"] for one in results) == list(range(1000))


def test_they_answer_under_their_pipeline(http: httpx.Client) -> None:
    reranked = http.post(f"/v1/{RERANKING_MODEL}/rerank", json={"query": QUERY, "documents": DOCUMENTS})
    scored = http.post(f"/v1/{RERANKING_MODEL}/score", json={"text_1": QUERY, "text_2": DOCUMENTS})
    assert (len(reranked.json()["results"]), len(scored.json()["data"])) == (3, 3)


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"query": None}, 400, "missing_required_parameter", "query"),
        ({"documents": None}, 400, "missing_required_parameter", "documents"),
        ({"documents": []}, 400, "invalid_value", "documents"),
        ({"documents": ["a"] * 1001}, 400, "invalid_value", "documents"),
        ({"documents": [{"image": "a"}]}, 400, "invalid_type", "documents.0"),
        ({"texts": ["a"]}, 400, "invalid_value", "texts"),
        ({"query": "fox " * 300}, 422, "context_length_exceeded", "query"),
        ({"rank_fields": ["title"]}, 400, "unsupported_parameter", "rank_fields"),
        ({"relevant_spans": {"mode": "enabled"}}, 400, "unsupported_parameter", "relevant_spans"),
        ({"model": MODEL}, 400, "unsupported_capability", "query"),
        ({"model": EMBEDDING_MODEL}, 400, "unsupported_capability", "query"),
    ],
)
def test_what_cannot_be_reranked(http: httpx.Client, changes: Any, status: int, code: str, param: str) -> None:
    assert_error(http.post(RERANK, json=body_of(**changes)), status, "invalid_request_error", code, param)


@pytest.mark.parametrize(
    ("route", "body"), [("chat/completions", {"messages": MESSAGES}), ("embeddings", {"input": "hi"})]
)
def test_a_reranker_does_nothing_else(http: httpx.Client, route: str, body: Any) -> None:
    response = http.post(f"/v1/{route}", json=body | {"model": RERANKING_MODEL})
    assert_error(response, 400, "invalid_request_error", "unsupported_capability", next(iter(body)))
