"""sentence-transformers behind our interface: the same vectors, whoever else is in the batch."""

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest

from contract.errors import ApiError
from contract.options.sentence_transformers import EmbedderOptions
from contract.project import PROJECT_FOLDER
from contract.protocol import EMBEDDINGS_ROUTE
from contract.token_limits import MAX_TOKENS
from deployments.embedding_input import tokens_of
from deployments.long_texts import MAX_CHARACTERS_PER_TOKEN
from deployments.replica import Replica
from deployments.sentence_transformers.batches import MAX_INPUTS_PER_BATCH
from deployments.sentence_transformers.embedder import Embedded, Embedder, EmbeddingJob, shortened
from deployments.sentence_transformers.engine import EmbeddingBatches
from tests.engines.replicas import items_of, served, started, until_replaced

SOURCE = str(PROJECT_FOLDER / "local_models" / "pocket-embed")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(served("sentence-transformers", SOURCE), EmbedderOptions(device="cpu"))


@pytest.fixture
async def replica() -> Replica:
    return await started("sentence-transformers", "embeddings", SOURCE, {"device": "cpu"})


def engine_of(replica: Replica) -> Any:
    return replica.engine


def batches(replica: Replica) -> Any:
    return engine_of(replica)._batches


def embed(embedder: Embedder, *requests: Any) -> list[Embedded | ApiError]:
    return embedder.embed([EmbeddingJob(one) for one in requests])


def embedded(result: Embedded | ApiError) -> Embedded:
    assert isinstance(result, Embedded)
    return result


def test_a_batch_gives_each_request_what_it_would_get_alone(embedder: Embedder) -> None:
    requests: list[Any] = [["the fox", "a gateway reads the request"], ["paris"], ["the fox"]]
    together = [embedded(one) for one in embed(embedder, *requests)]
    for request, found in zip(requests, together, strict=True):
        alone = embedded(embed(embedder, request)[0])
        np.testing.assert_allclose(found.vectors, alone.vectors, atol=1e-6)
        assert found.tokens == alone.tokens
    np.testing.assert_allclose(together[0].vectors[0], together[2].vectors[0], atol=1e-6)


def test_a_fault_of_one_request_is_its_own(embedder: Embedder) -> None:
    good, long, strange = embed(embedder, ["the fox"], ["the fox", "fox " * 300], [[10**6]])
    assert embedded(good).vectors.shape == (1, 64)
    assert isinstance(long, ApiError)
    assert (long.status, long.code, long.param) == (422, "context_length_exceeded", "input.1")
    assert isinstance(strange, ApiError)
    assert (strange.status, strange.param) == (400, "input.0")


def test_token_ids_go_into_the_model_as_they_are(embedder: Embedder) -> None:
    """So they give the vector of the text that has them, even where that cannot be told from them."""
    texts: list[Any] = ["the fox", "a \N{SNOWMAN} reads", "A Fox"]
    ids = embedder._model.tokenizer(texts)["input_ids"]
    (of_texts,), (of_ids,) = embed(embedder, texts), embed(embedder, ids)
    np.testing.assert_allclose(embedded(of_ids).vectors, embedded(of_texts).vectors, atol=1e-6)
    assert embedded(of_ids).tokens == embedded(of_texts).tokens
    (mixed, _) = embed(embedder, ids, texts)
    np.testing.assert_allclose(embedded(mixed).vectors, embedded(of_ids).vectors, atol=1e-6)


def test_a_request_that_nobody_wants_is_left_after_a_batch(embedder: Embedder, monkeypatch: Any) -> None:
    leaving, staying = EmbeddingJob(["the quick brown fox reads"] * 200), EmbeddingJob(["paris"] * 3)
    vectors, made = embedder._vectors, []

    def leave_at_once(inputs: list[Any]) -> Any:
        leaving.wanted = False
        made.append(inputs)
        return vectors(inputs)

    monkeypatch.setattr(embedder, "_vectors", leave_at_once)
    _, result = embedder.embed([leaving, staying])
    assert len(made) == 2
    (alone,) = embed(embedder, ["paris"])
    np.testing.assert_allclose(embedded(result).vectors, np.repeat(embedded(alone).vectors, 3, axis=0), atol=1e-6)


def test_what_the_model_puts_before_each_text_counts(embedder: Embedder, monkeypatch: Any) -> None:
    (without,) = embed(embedder, ["fox"])
    monkeypatch.setattr(embedder, "_prompt", "the quick brown ")
    (within,) = embed(embedder, ["fox"])
    assert embedded(within).tokens > embedded(without).tokens


def test_endless_texts_are_refused_before_they_are_counted() -> None:
    """Counting them would take a minute and gigabytes."""

    def tokenize(texts: list[str]) -> list[list[int]]:
        return [[1] * 200 for _ in texts]

    longest = 256 * MAX_CHARACTERS_PER_TOKEN
    assert tokens_of([" " * longest], tokenize, 256, 400) == [[1] * 200]
    error = tokens_of(["fox", " " * (longest + 1)], tokenize, 256, 400)
    assert isinstance(error, ApiError)
    assert (error.status, error.param) == (422, "input.1")
    assert f"{longest + 1} characters; the model takes 256 tokens. Shorten it, or split it." in error.message


def test_counting_ends_where_all_is_too_much() -> None:
    counted = 0

    def tokenize(texts: list[str]) -> list[list[int]]:
        nonlocal counted
        counted += len(texts)
        return [[1] * 1000 for _ in texts]

    error = tokens_of(["fox"] * 2048, tokenize, 1000, 400)
    assert isinstance(error, ApiError)
    assert (error.status, error.param) == (422, "input")
    assert counted <= MAX_TOKENS / 1000 + 64


def test_a_batch_has_room_for_one_large_request_or_several_small_ones(embedder: Embedder) -> None:
    def batch(*sizes: int) -> list[int]:
        jobs = [EmbeddingJob(["a"] * size) for size in sizes]
        return [len(job.inputs) for job in EmbeddingBatches(embedder).select(jobs)]

    assert batch(2048) == [2048]
    assert batch(2048, 1) == [2048]
    assert batch(*[1] * 32) == [1] * 32
    assert batch(MAX_INPUTS_PER_BATCH - 1, 1, 1) == [MAX_INPUTS_PER_BATCH - 1, 1]


async def test_requests_that_wait_together_are_one_batch(replica: Replica) -> None:
    before = batches(replica).begun
    texts = ["the fox", "paris", "a gateway reads"]
    answers = await asyncio.gather(*(items_of(replica, EMBEDDINGS_ROUTE, {"input": text}) for text in texts))
    assert batches(replica).begun - before <= 2  # the first at once, the others once it is made
    for text, (head,) in zip(texts, answers, strict=True):
        (alone,) = await items_of(replica, EMBEDDINGS_ROUTE, {"input": text})
        made, expected = (orjson.loads(one.body)["data"][0]["embedding"] for one in (head, alone))
        np.testing.assert_allclose(made, expected, atol=1e-6)


async def until_idle(replica: Replica) -> None:
    """An answer leaves a moment before its batch has ended."""
    async with asyncio.timeout(5):
        while replica.unfinished_requests():
            await asyncio.sleep(0.01)


async def test_a_client_that_leaves_while_it_waits_is_not_embedded(replica: Replica) -> None:
    await until_idle(replica)
    first = asyncio.create_task(items_of(replica, EMBEDDINGS_ROUTE, {"input": ["fox " * 40] * 512}))
    await asyncio.sleep(0)
    second = asyncio.create_task(items_of(replica, EMBEDDINGS_ROUTE, {"input": "paris"}))
    while batches(replica).unfinished() < 2:
        await asyncio.sleep(0)
    begun = batches(replica).begun
    second.cancel()
    await asyncio.wait([first, second])
    await until_idle(replica)
    assert batches(replica).begun == begun


def test_too_many_tokens_together(embedder: Embedder) -> None:
    (error,) = embed(embedder, ["fox " * 80] * 1300)
    assert isinstance(error, ApiError)
    assert (error.status, error.param) == (422, "input")


def test_a_shortened_vector_has_length_one_again() -> None:
    vectors = np.array([[3, 4, 12], [0, 0, 1]], "<f4")
    np.testing.assert_allclose(shortened(vectors, 2), np.array([[0.6, 0.8], [0, 0]]))
    assert shortened(vectors, None) is vectors
    assert shortened(vectors, 3) is vectors


def test_whether_vectors_may_be_shortened_is_the_operator_s_to_say() -> None:
    assert "dimensions" in Embedder(served("sentence-transformers", SOURCE), EmbedderOptions()).profile().lacks
    assert (
        "dimensions"
        not in Embedder(served("sentence-transformers", SOURCE), EmbedderOptions(matryoshka=True)).profile().lacks
    )


async def test_an_engine_that_fails_its_trial_too_is_replaced(replica: Replica, monkeypatch: Any) -> None:
    (head,) = await items_of(replica, EMBEDDINGS_ROUTE, {"input": "the fox"})
    assert head.status == 200
    await replica.check_health()

    def lost(_: Any) -> Any:
        raise RuntimeError("the GPU is lost")

    monkeypatch.setattr(engine_of(replica)._model, "embed", lost)
    (head,) = await items_of(replica, EMBEDDINGS_ROUTE, {"input": "the fox"})
    assert (head.status, head.error["code"]) == (502, "upstream_error")
    await until_replaced(replica)
