"""`pocket-whisper`: a Whisper of about 450 thousand random weights, converted for CTranslate2.

It understands nothing, but it takes the whole way: spectrogram, encoder, decoder, languages, timestamps, alignment. The
same audio always becomes the same text.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from contract.options.whisper_languages import LANGUAGES
from local_models.chat import CORPUS, SEED

TEXT_TOKENS = 300
TIMESTAMPS = 1501  # 0.00 to 30.00 s
POSITIONS = 448
MEL_BINS = 80
LETTERS_SCALE = 3.0
# In the order that every Whisper has them: the languages and the timestamps are found by their distance to the others.
SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]


def make_whisper_model(folder: Path, width: int = 64, layers: int = 2, heads: int = 2) -> None:
    """Write the model and its tokenizer into `folder`; the benchmark makes one of a real model's size."""
    from ctranslate2.converters import TransformersConverter

    scratch, converted = folder / "scratch", folder / "converted"
    _save_for_transformers(scratch, width, layers, heads)
    converter = TransformersConverter(str(scratch), copy_files=["tokenizer.json", "preprocessor_config.json"])
    converter.convert(str(converted))
    for path in converted.iterdir():
        path.rename(folder / path.name)
    converted.rmdir()
    shutil.rmtree(scratch)


def _save_for_transformers(folder: Path, width: int, layers: int, heads: int) -> None:
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    folder.mkdir()
    ids = _save_tokenizer(folder)
    torch.manual_seed(SEED)
    config = WhisperConfig(
        vocab_size=len(ids) + TIMESTAMPS,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        num_mel_bins=MEL_BINS,
        max_source_positions=1500,
        max_target_positions=POSITIONS,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=[],
        begin_suppress_tokens=[ids["<|endoftext|>"]],
    )
    model = WhisperForConditionalGeneration(config)
    _prefer(
        model.model.decoder.embed_tokens.weight,
        [id for token, id in ids.items() if token.isascii() and token.isalnum()],
    )
    model.generation_config = GenerationConfig(
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=[],
        begin_suppress_tokens=[ids["<|endoftext|>"]],
        lang_to_id={f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES},
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=MEL_BINS).save_pretrained(folder)


def _prefer(embeddings: Any, ids: list[int]) -> None:
    """Make some tokens likelier than the others, so that a transcript is of letters."""
    import torch

    with torch.no_grad():
        embeddings[ids] *= LETTERS_SCALE


def _save_tokenizer(folder: Path) -> dict[str, int]:
    """A byte-level tokenizer trained on the corpus; the id of each of its tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import WhisperTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_TOKENS,
        special_tokens=[""],  # by this token CTranslate2 knows a model of many languages
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    ids: dict[str, int] = bpe.get_vocab()
    WhisperTokenizerFast(tokenizer_object=bpe).save_pretrained(folder)
    saved = json.loads((folder / "tokenizer.json").read_text())
    if max(token["id"] for token in saved["added_tokens"]) + 1 != len(ids):
        raise RuntimeError("the tokenizer was saved with other tokens than it was made with")
    return ids
