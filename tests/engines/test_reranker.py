"""A cross-encoder on sentence-transformers: the library's own scores, whoever else is in the batch."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from contract.errors import ApiError
from contract.options.sentence_transformers import EmbedderOptions
from contract.project import PROJECT_FOLDER
from contract.protocol import RERANK_ROUTE, SCORE_ROUTE
from contract.token_limits import MAX_TOKENS
from deployments.long_texts import MAX_CHARACTERS_PER_TOKEN
from deployments.replica import Replica
from deployments.sentence_transformers.reranker import Reranker, RerankingJob
from deployments.text_pairs import NoRerankerError, Pairs, Scored, pairs_of
from tests.engines.replicas import items_of, served, started, until_replaced

SOURCE = str(PROJECT_FOLDER / "local_models" / "pocket-rerank")
CONTEXT = 256
QUERY = "the fox"
DOCUMENTS = ["a gateway reads", "the quick brown fox", "paris"]


@pytest.fixture(scope="module")
def reranker() -> Reranker:
    return Reranker(served("sentence-transformers", SOURCE), EmbedderOptions(device="cpu"))


@pytest.fixture(scope="module")
def library() -> Any:
    """The library's own way to the scores."""
    from sentence_transformers import CrossEncoder

    return CrossEncoder(SOURCE, device="cpu")


@pytest.fixture
async def replica() -> Replica:
    return await started("sentence-transformers", "rerank", SOURCE, {"device": "cpu"})


def pairs(query: str | list[str], documents: str | list[str], **more: Any) -> Pairs:
    return pairs_of(SCORE_ROUTE, {"text_1": query, "text_2": documents} | more)


def score(reranker: Reranker, *requests: Pairs) -> list[Scored | ApiError]:
    return reranker.score([RerankingJob(one) for one in requests])


def scored(result: Scored | ApiError) -> Scored:
    assert isinstance(result, Scored), result
    return result


def fault(result: Scored | ApiError) -> tuple[int, str, str | None]:
    assert isinstance(result, ApiError)
    return result.status, result.code, result.param


def test_scores_and_tokens_are_those_of_the_library(reranker: Reranker, library: Any) -> None:
    (found,) = score(reranker, pairs(QUERY, DOCUMENTS))
    expected = library.predict([(QUERY, one) for one in DOCUMENTS])
    np.testing.assert_allclose(scored(found).scores, expected, atol=1e-6)
    assert np.ptp(expected) > 0.01
    ids = library.tokenizer([QUERY] * len(DOCUMENTS), DOCUMENTS)["input_ids"]
    assert scored(found).tokens == sum(map(len, ids))


def test_a_batch_gives_each_request_what_it_would_get_alone(reranker: Reranker) -> None:
    requests = [pairs(QUERY, DOCUMENTS), pairs("paris", "the fox"), pairs(["paris", QUERY], ["the fox", "paris"])]
    for request, found in zip(requests, score(reranker, *requests), strict=True):
        (alone,) = score(reranker, request)
        np.testing.assert_allclose(scored(found).scores, scored(alone).scores, atol=1e-6)
        assert scored(found).tokens == scored(alone).tokens


def test_the_order_of_a_pair_counts(reranker: Reranker) -> None:
    one, other = score(reranker, pairs("the fox", "paris"), pairs("paris", "the fox"))
    assert abs(scored(one).scores[0] - scored(other).scores[0]) > 0.01


@pytest.mark.parametrize(
    ("request_pairs", "place"),
    [
        (pairs(QUERY, ["paris", "fox " * 300]), "text_2.1"),
        (pairs("fox " * 300, DOCUMENTS), "text_1"),
        (pairs(["paris", "fox " * 300], ["a", "b"]), "text_1.1"),
        (pairs(QUERY, ["paris", " " * (CONTEXT * MAX_CHARACTERS_PER_TOKEN + 1)]), "text_2.1"),
        (pairs(QUERY, ["the " * 200] * (MAX_TOKENS // 200)), "text_2"),
        (pairs_of(RERANK_ROUTE, {"query": QUERY, "documents": ["fox " * 300]}), "documents.0"),
    ],
    ids=["document", "query", "one of the queries", "endless document", "tokens together", "names of rerank"],
)
def test_what_is_too_long_is_named_and_its_own_fault(reranker: Reranker, request_pairs: Pairs, place: str) -> None:
    good, bad = score(reranker, pairs(QUERY, DOCUMENTS), request_pairs)
    assert len(scored(good).scores) == 3
    assert fault(bad) == (422, "context_length_exceeded", place)


def test_the_longest_pair_that_fits(reranker: Reranker) -> None:
    """With the three tokens around both texts."""
    (fits,) = score(reranker, pairs("the", "the " * (CONTEXT - 4)))
    assert scored(fits).tokens == CONTEXT
    assert fault(score(reranker, pairs("the", "the " * (CONTEXT - 3)))[0])[2] == "text_2.0"


@pytest.mark.parametrize("most", [1, 3, 64])
def test_documents_are_cut_to_the_tokens_that_are_asked_for(reranker: Reranker, most: int) -> None:
    long = "the " * 1000
    (cut,) = score(reranker, pairs(QUERY, ["the", long], max_tokens_per_doc=most))
    (beginning,) = score(reranker, pairs(QUERY, ["the", ("the " * most).strip()]))
    np.testing.assert_allclose(scored(cut).scores, scored(beginning).scores, atol=1e-6)
    assert scored(cut).tokens == scored(beginning).tokens


def test_a_request_that_nobody_wants_is_left_after_a_batch(reranker: Reranker, monkeypatch: Any) -> None:
    leaving, staying = RerankingJob(pairs(QUERY, ["the quick brown fox"] * 200)), RerankingJob(pairs(QUERY, DOCUMENTS))
    predict, made = reranker._model.predict, []

    def leave_at_once(given: list[Any], **options: Any) -> Any:
        leaving.wanted = False
        made.append(given)
        return predict(given, **options)

    monkeypatch.setattr(reranker._model, "predict", leave_at_once)
    _, found = reranker.score([leaving, staying])
    assert len(made) == 2
    assert len(scored(found).scores) == 3


def test_what_the_model_can_do(reranker: Reranker) -> None:
    profile = reranker.profile()
    assert profile.capabilities == {"rerank"}
    assert profile.limits == {"context_length": CONTEXT}
    assert profile.lacks == {}


@pytest.mark.parametrize("labels", [2, 0], ids=["two labels", "no head"])
def test_a_model_that_is_no_reranker_is_refused_at_its_start(tmp_path: Path, labels: int) -> None:
    from transformers import BertForSequenceClassification, BertModel

    from local_models.embed import bert_config, save_tokenizer

    tokens = save_tokenizer(tmp_path)
    if labels:
        BertForSequenceClassification(bert_config(tokens, 16, 1, 1, num_labels=labels)).save_pretrained(tmp_path)
    else:
        BertModel(bert_config(tokens, 16, 1, 1)).save_pretrained(tmp_path)
    with pytest.raises(NoRerankerError, match="cannot rerank"):
        Reranker(served("sentence-transformers", str(tmp_path)), EmbedderOptions(device="cpu"))


async def rerank(replica: Replica, **changes: Any) -> dict[str, Any]:
    (head,) = await items_of(replica, RERANK_ROUTE, {"query": QUERY, "documents": DOCUMENTS} | changes)
    assert head.error is None, head.error
    return orjson.loads(head.body)


class TestReplica:
    async def test_rerank_sorts_and_score_does_not(self, replica: Replica, library: Any) -> None:
        expected = library.predict([(QUERY, one) for one in DOCUMENTS])
        results = (await rerank(replica))["results"]
        assert [one["index"] for one in results] == list(np.argsort(-expected))
        np.testing.assert_allclose([one["relevance_score"] for one in results], -np.sort(-expected), atol=1e-6)
        assert [one["document"]["text"] for one in results] == [DOCUMENTS[one["index"]] for one in results]
        (head,) = await items_of(replica, SCORE_ROUTE, {"text_1": QUERY, "text_2": DOCUMENTS})
        answer = orjson.loads(head.body)
        assert [one["index"] for one in answer["data"]] == [0, 1, 2]
        np.testing.assert_allclose([one["score"] for one in answer["data"]], expected, atol=1e-6)
        assert head.usage == answer["usage"] == (await rerank(replica))["usage"]

    async def test_as_many_as_are_asked_for(self, replica: Replica) -> None:
        whole = (await rerank(replica))["results"]
        assert (await rerank(replica, top_n=2))["results"] == whole[:2]
        assert (await rerank(replica, top_n=9))["results"] == whole

    async def test_without_documents(self, replica: Replica) -> None:
        for result in (await rerank(replica, return_documents=False))["results"]:
            assert set(result) == {"index", "relevance_score"}

    async def test_a_document_is_returned_whole_where_its_beginning_was_read(self, replica: Replica) -> None:
        (result,) = (await rerank(replica, documents=["fox " * 500], max_tokens_per_doc=5))["results"]
        assert result["document"]["text"] == "fox " * 500

    async def test_requests_at_once_each_get_their_own(self, replica: Replica) -> None:
        requests = [{"query": one, "documents": DOCUMENTS} for one in ("paris", "the fox", "a gateway", "the dog")]
        together = await asyncio.gather(*(rerank(replica, **one) for one in requests))
        for one, found in zip(requests, together, strict=True):
            alone = await rerank(replica, **one)
            np.testing.assert_allclose(
                [result["relevance_score"] for result in found["results"]],
                [result["relevance_score"] for result in alone["results"]],
                atol=1e-6,
            )

    async def test_an_engine_that_fails_its_trial_too_is_replaced(self, replica: Replica, monkeypatch: Any) -> None:
        def lost(_: Any) -> Any:
            raise RuntimeError("the GPU is lost")

        engine: Any = replica.engine
        monkeypatch.setattr(engine._model, "score", lost)
        (head,) = await items_of(replica, RERANK_ROUTE, {"query": QUERY, "documents": DOCUMENTS})
        assert (head.status, head.error["code"]) == (502, "upstream_error")
        await until_replaced(replica)
