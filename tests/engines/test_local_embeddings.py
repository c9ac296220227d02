"""all-minilm-l6-v2 finds what is meant: texts that mean the same are nearer than texts that share a word."""

import itertools
from typing import Any

import numpy as np
import pytest

from contract.options.sentence_transformers import EmbedderOptions
from contract.project import PROJECT_FOLDER
from deployments.sentence_transformers.embedder import Embedded, Embedder, EmbeddingJob
from tests.engines.replicas import served

SOURCE = str(PROJECT_FOLDER / "local_models" / "all-minilm-l6-v2")
DIMENSIONS = 384
# Each means the same twice, in other words.
PAIRS = [
    ("How do I reset my password?", "I forgot my login and need a new one."),
    ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
    ("The train was an hour late.", "Our rail journey was delayed by sixty minutes."),
    ("She is a doctor at the city hospital.", "She works as a physician in the local clinic."),
    ("Prices rose sharply last year.", "Inflation was high in the past twelve months."),
    ("He is cooking dinner for his family.", "Tonight he prepares a meal for his wife and children."),
    ("It will rain tomorrow.", "The forecast for the next day says showers."),
    ("Python is a programming language.", "Software is often written in Python."),
]
NEAR, FAR = 0.45, 0.27  # the least of pairs, the most of texts of two pairs
# The second shares a word with the first, the third shares its sense.
SENSES = [
    ("We sat on the bank of the river.", "The bank raised its interest rates.", "The shore was lined with trees."),
    ("The flowers bloom in spring.", "The spring of the mattress is broken.", "In April the garden turns green."),
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(served("sentence-transformers", SOURCE), EmbedderOptions(device="cpu"))


def vectors(embedder: Embedder, texts: list[str]) -> Any:
    (found,) = embedder.embed([EmbeddingJob([*texts])])
    assert isinstance(found, Embedded)
    return np.array(found.vectors)


def test_vectors_have_length_one(embedder: Embedder) -> None:
    found = vectors(embedder, [text for pair in PAIRS for text in pair])
    assert found.shape == (2 * len(PAIRS), DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_texts_that_mean_the_same_are_near_and_others_are_far(embedder: Embedder) -> None:
    first, second = (vectors(embedder, list(texts)) for texts in zip(*PAIRS, strict=True))
    near = np.sum(first * second, axis=1)
    everything = np.concatenate([first, second])
    others = [
        one @ other
        for (a, one), (b, other) in itertools.combinations(enumerate(everything), 2)
        if a % len(PAIRS) != b % len(PAIRS)
    ]
    print(f"near: {min(near):.2f} to {max(near):.2f}; far: {min(others):.2f} to {max(others):.2f}")
    assert min(near) > NEAR
    assert max(others) < FAR


@pytest.mark.parametrize("texts", SENSES, ids=["bank", "spring"])
def test_the_sense_of_a_word_counts_more_than_the_word(embedder: Embedder, texts: tuple[str, str, str]) -> None:
    asked, same_word, same_sense = vectors(embedder, list(texts))
    assert asked @ same_sense > asked @ same_word
