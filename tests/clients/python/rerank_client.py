"""Clients of rerankers: Cohere's package in both of its versions, and those of Jina in LangChain and in LlamaIndex."""

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import cohere
import httpx
import pytest
from langchain_community.document_compressors import jina_rerank
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.jinaai_rerank import JinaRerank

MODEL = "pocket-rerank"
QUERY = "the fox"
DOCUMENTS = ["a gateway reads", "the quick brown fox", "paris"]
ASK: dict[str, Any] = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS}
Ranking = list[tuple[int, float]]  # of each document its index and its score, the best first


@pytest.fixture(scope="session")
def ranking(base_url: str, api_key: str) -> Ranking:
    """What every client is to find, by /v1/score."""
    body = {"model": MODEL, "text_1": QUERY, "text_2": DOCUMENTS}
    answer = httpx.post(f"{base_url}/score", json=body, headers={"authorization": f"Bearer {api_key}"}, timeout=60)
    scores = [one["score"] for one in answer.json()["data"]]
    assert len(set(scores)) == len(DOCUMENTS)
    return sorted(enumerate(scores), key=lambda one: -one[1])


def assert_ranked(found: Iterable[tuple[int, float]], expected: Ranking) -> None:
    indexes, scores = zip(*found, strict=True)
    assert list(indexes) == [index for index, _ in expected]
    assert list(scores) == pytest.approx([score for _, score in expected], abs=1e-6)


def root_of(base_url: str) -> str:
    """Cohere's package adds /v1 or /v2 itself."""
    return base_url.removesuffix("/v1")


@pytest.fixture(params=[cohere.Client, cohere.ClientV2], ids=["v1", "v2"])
def client(request: pytest.FixtureRequest, base_url: str, api_key: str) -> Iterator[Any]:
    with request.param(api_key, base_url=root_of(base_url), max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(base_url: str, api_key: str) -> AsyncIterator[Any]:
    async with cohere.AsyncClientV2(api_key, base_url=root_of(base_url), max_retries=0) as client:
        yield client


class TestCohere:
    def test_documents_come_the_most_relevant_first(self, client: Any, ranking: Ranking) -> None:
        answer = client.with_raw_response.rerank(**ASK)
        assert_ranked(((one.index, one.relevance_score) for one in answer.data.results), ranking)
        assert answer.data.id
        assert "x-param-adjustments" not in answer.headers

    async def test_the_async_client_gets_the_same(self, async_client: Any, ranking: Ranking) -> None:
        answer = await async_client.rerank(**ASK, top_n=2)
        assert_ranked(((one.index, one.relevance_score) for one in answer.results), ranking[:2])

    def test_the_first_version_takes_objects_and_returns_their_texts(
        self, base_url: str, api_key: str, ranking: Ranking
    ) -> None:
        documents = [{"text": one} for one in DOCUMENTS]
        with cohere.Client(api_key, base_url=root_of(base_url)) as client:
            answer = client.rerank(
                model=MODEL, query=QUERY, documents=documents, rank_fields=["text"], return_documents=True, top_n=2
            )
        assert [one.document.text for one in answer.results if one.document] == [
            DOCUMENTS[index] for index, _ in ranking[:2]
        ]

    def test_the_second_version_reads_the_beginning_of_long_documents(self, base_url: str, api_key: str) -> None:
        long = ASK | {"documents": [*DOCUMENTS, "the fox " * 200]}
        with cohere.ClientV2(api_key, base_url=root_of(base_url)) as client:
            assert len(client.rerank(**long, max_tokens_per_doc=64).results) == 4
            with pytest.raises(cohere.UnprocessableEntityError) as caught:
                client.rerank(**long)
        assert caught.value.body["error"]["param"] == "documents.3"

    def test_errors_are_of_the_package_s_own_types(self, client: Any, base_url: str) -> None:
        with pytest.raises(cohere.NotFoundError) as unknown:
            client.rerank(**ASK | {"model": "rerank-v3.5"})
        assert unknown.value.body["error"]["code"] == "model_not_found"
        with pytest.raises(cohere.BadRequestError) as refused:
            client.rerank(**ASK | {"model": "pocket-chat"})
        assert refused.value.body["error"]["code"] == "unsupported_capability"
        with (
            type(client)("a-key-of-others", base_url=root_of(base_url)) as stranger,
            pytest.raises(cohere.UnauthorizedError),
        ):
            stranger.rerank(**ASK)


@pytest.fixture
def compressor(monkeypatch: pytest.MonkeyPatch, base_url: str, api_key: str) -> jina_rerank.JinaRerank:
    """LangChain's has the address in its module."""
    monkeypatch.setattr(jina_rerank, "JINA_API_URL", f"{base_url}/rerank")
    return jina_rerank.JinaRerank(model=MODEL, jina_api_key=api_key, top_n=2)


class TestLangChain:
    def test_documents_are_compressed_to_the_most_relevant(
        self, compressor: jina_rerank.JinaRerank, ranking: Ranking
    ) -> None:
        documents = [Document(text, metadata={"place": index}) for index, text in enumerate(DOCUMENTS)]
        found = compressor.compress_documents(documents, QUERY)
        assert_ranked(((one.metadata["place"], one.metadata["relevance_score"]) for one in found), ranking[:2])
        assert [one.page_content for one in found] == [DOCUMENTS[index] for index, _ in ranking[:2]]

    def test_strings_are_ranked(self, compressor: jina_rerank.JinaRerank, ranking: Ranking) -> None:
        found = compressor.rerank(DOCUMENTS, QUERY, top_n=None)
        assert_ranked(((one["index"], one["relevance_score"]) for one in found), ranking)

    def test_an_error_is_one_without_its_message(self, compressor: jina_rerank.JinaRerank) -> None:
        """It looks for `detail`, which is Jina's own."""
        with pytest.raises(KeyError, match="detail"):
            compressor.rerank(DOCUMENTS, QUERY, model="jina-reranker-v2-base-multilingual")


class TestLlamaIndex:
    def test_nodes_come_the_most_relevant_first(self, base_url: str, api_key: str, ranking: Ranking) -> None:
        reranker = JinaRerank(model=MODEL, base_url=base_url, api_key=api_key, top_n=2)
        nodes = [NodeWithScore(node=TextNode(id_=str(index), text=text)) for index, text in enumerate(DOCUMENTS)]
        found = reranker.postprocess_nodes(nodes, query_str=QUERY)
        assert_ranked(((int(one.node.node_id), one.score) for one in found), ranking[:2])
