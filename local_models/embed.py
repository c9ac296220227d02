"""`pocket-embed`: a BERT of about 90 thousand random weights that makes vectors of 64 numbers.

They mean nothing, but equal texts get equal vectors, all of length one.
"""

from pathlib import Path
from typing import Any

from local_models.chat import CORPUS, SEED

CONTEXT_LENGTH = 256
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_embedding_model(folder: Path, width: int = 64, layers: int = 2, heads: int = 2) -> None:
    """Write the model, its tokenizer and its pooling into `folder`. The defaults are those of pocket-embed."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertModel

    scratch = folder / "scratch"
    scratch.mkdir()
    tokens = save_tokenizer(scratch)
    torch.manual_seed(SEED)
    BertModel(bert_config(tokens, width, layers, heads)).save_pretrained(scratch)
    transformer = Transformer(str(scratch), max_seq_length=CONTEXT_LENGTH)
    SentenceTransformer(modules=[transformer, Pooling(width), Normalize()]).save(str(folder))
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()


def save_tokenizer(folder: Path) -> int:
    """Write a tokenizer of words, trained on the corpus, into `folder`. Returns how many tokens it has."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    words = BertWordPieceTokenizer(lowercase=True)
    words.train_from_iterator(CORPUS, vocab_size=400, special_tokens=SPECIAL_TOKENS, show_progress=False)
    tokenizer = BertTokenizerFast(tokenizer_object=words._tokenizer, model_max_length=CONTEXT_LENGTH)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def bert_config(tokens: int, width: int, layers: int, heads: int, **more: Any) -> Any:
    """transformers' configuration of a BERT with so many tokens."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=tokens,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=CONTEXT_LENGTH,
        pad_token_id=SPECIAL_TOKENS.index("[PAD]"),
        **more,
    )
