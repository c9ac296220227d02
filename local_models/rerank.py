"""`pocket-rerank`: a cross-encoder of about 90 thousand random weights, which gives two texts a score in 0..1.

It means nothing, but equal pairs get equal scores, and each score is of both texts, as of a real one.
"""

from pathlib import Path

from local_models.chat import SEED
from local_models.embed import bert_config, save_tokenizer

SPREAD = 0.3  # of the weights; with BERT's own, 0.02, all pairs would get about the same score


def make_reranking_model(folder: Path, width: int = 64, layers: int = 2, heads: int = 2) -> None:
    """Write the model and its tokenizer into `folder`. The defaults are those of pocket-rerank."""
    import torch
    from transformers import BertForSequenceClassification

    tokens = save_tokenizer(folder)
    torch.manual_seed(SEED)
    config = bert_config(tokens, width, layers, heads, num_labels=1, initializer_range=SPREAD)
    BertForSequenceClassification(config).save_pretrained(folder)
