"""`pocket-chat`: a Llama of about 100 thousand random weights, with its own tokenizer and a ChatML template with tools.

It knows no language. It exists so that a real engine has a real model to load, in seconds and from nothing: every
request then takes the same way through tokenizer, template, scheduler, sampler and grammar as on a large model.
"""

from pathlib import Path
from typing import Any

# Enough text for a byte-level tokenizer to learn some merges; what it says does not matter.
CORPUS = [
    "The quick brown fox jumps over the lazy dog while the small model speaks of nothing at all.",
    "A gateway reads the request, finds the model, asks the budget and relays the answer as it is made.",
    '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}',
    "<tool_call> </tool_call> <tool_response> </tool_response> system user assistant tool",
    "0 1 2 3 4 5 6 7 8 9 10 20 30 40 50 60 70 80 90 100 1000 2024 3.14",
]
SPECIAL_TOKENS = ["<|pad|>", "<|bos|>", "<|im_start|>", "<|im_end|>"]
VOCAB_SIZE = 384
CONTEXT_LENGTH = 2048
SEED = 20
HIDDEN_SIZE = 64
INTERMEDIATE_SIZE = 128
LAYERS = 2
HEADS, KEY_HEADS = 2, 1
HEAD_SIZE = 32  # the smallest that vLLM's CPU attention accepts
KEY_SIZE = KEY_HEADS * HEAD_SIZE  # of all heads together


def make_tokenizer(folder: Path, special_tokens: list[str], shown_tokens: list[str], chat_template: str) -> None:
    """Train a byte-level BPE tokenizer on the corpus and save it, with its chat template, in `folder`.

    The ids begin with `special_tokens`, which no answer's text shows, and end with `shown_tokens`, which it does.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(shown_tokens),
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    bpe.add_tokens([AddedToken(token, special=False, normalized=False) for token in shown_tokens])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|im_end|>",
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)


def make_chat_model(folder: Path) -> None:
    """Write the model, its tokenizer and its configuration into `folder` (about 0.5 MB, always the same bytes)."""
    _make_tokenizer(folder)
    _chat_model().save_pretrained(folder)


def make_draft_model(folder: Path) -> None:
    """Write `pocket-draft`, which drafts for `pocket-chat`: the same model without its last layer.

    So it often generates what the whole model does, and not always.
    """
    _make_tokenizer(folder)
    model = _chat_model()
    model.model.layers = model.model.layers[:-1]
    model.config.num_hidden_layers = len(model.model.layers)
    model.save_pretrained(folder)


def _make_tokenizer(folder: Path) -> None:
    make_tokenizer(folder, SPECIAL_TOKENS, [], Path(__file__).with_name("chat_template.jinja").read_text())


def _chat_model() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=INTERMEDIATE_SIZE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        head_dim=HEAD_SIZE,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=SPECIAL_TOKENS.index("<|pad|>"),
        bos_token_id=SPECIAL_TOKENS.index("<|bos|>"),
        eos_token_id=SPECIAL_TOKENS.index("<|im_end|>"),
        dtype="float32",
    )
    return LlamaForCausalLM(config)
