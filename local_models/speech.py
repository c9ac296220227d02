"""`pocket-vits` and `pocket-bark`: voices of random weights, without words. The same text and seed give the same audio.

A text of more letters is longer audio on `pocket-vits`.
"""

import json
from pathlib import Path
from typing import Any

from local_models.chat import SEED

SPEAKERS = 3
PRESETS = ("v2/en_speaker_0", "v2/en_speaker_1")
SMALL_VITS: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "ffn_dim": 32,
    "flow_size": 16,
    "spectrogram_bins": 33,
    "upsample_initial_channel": 32,
    "prior_encoder_num_flows": 1,
    "prior_encoder_num_wavenet_layers": 1,
    "posterior_encoder_num_wavenet_layers": 1,
    "duration_predictor_filter_channels": 16,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}
LETTERS = " abcdefghijklmnopqrstuvwxyz'-"
# Bark's vocabularies are fixed: its models find each other's tokens by their numbers.
SEMANTIC_TOKENS = 10_000
TEXT_TOKENS = 129_600
COARSE_TOKENS = 12_096
CODES, CODEBOOKS, COARSE_CODEBOOKS = 1024, 8, 2
SECONDS = 0.5  # of audio for each sentence


def make_vits_model(folder: Path, small: bool = True) -> None:
    """Write a VITS of three speakers into `folder`; the benchmark makes one of a real model's size."""
    import torch
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    torch.manual_seed(SEED)
    vocabulary = {letter: number for number, letter in enumerate(["<pad>", *LETTERS, "<unk>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    VitsTokenizer(str(folder / "vocab.json"), phonemize=False).save_pretrained(folder)
    config = VitsConfig(
        vocab_size=len(vocabulary),
        use_stochastic_duration_prediction=False,
        num_speakers=SPEAKERS,
        speaker_embedding_size=16,
        **(SMALL_VITS if small else {}),
    )
    model = VitsModel(config)
    with torch.no_grad():
        model.duration_predictor.proj.bias.fill_(0.2)  # two frames of 16 ms for a letter, and as many for a gap
    model.save_pretrained(folder)


def make_bark_model(folder: Path) -> None:
    """Write a Bark with two presets into `folder`."""
    import torch
    from transformers import (
        BarkCoarseConfig,
        BarkConfig,
        BarkFineConfig,
        BarkModel,
        BarkSemanticConfig,
        EncodecConfig,
        GenerationConfig,
    )

    torch.manual_seed(SEED)
    small: dict[str, Any] = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "block_size": 1024}
    model = BarkModel(
        BarkConfig(
            semantic_config=BarkSemanticConfig(input_vocab_size=TEXT_TOKENS, output_vocab_size=10_048, **small),
            coarse_acoustics_config=BarkCoarseConfig(
                input_vocab_size=COARSE_TOKENS, output_vocab_size=COARSE_TOKENS, **small
            ),
            fine_acoustics_config=BarkFineConfig(
                input_vocab_size=CODES + 32, output_vocab_size=CODES + 32, n_codes_given=1, **small
            ),
            codec_config=EncodecConfig(
                hidden_size=16, num_filters=4, num_lstm_layers=1, codebook_size=CODES, codebook_dim=16
            ),
        )
    )
    for layer in model.codec_model.quantizer.layers:
        layer.codebook.embed.normal_()  # nothing at first: every code would give the same audio
    model.generation_config = GenerationConfig()  # transformers cannot write Bark's own
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(_bark_generation()))
    _save_bark_tokenizer(folder)
    _save_presets(folder)


def _bark_generation() -> dict[str, Any]:
    return {
        "model_type": "bark",
        "sample_rate": 24_000,
        "codebook_size": CODES,
        "semantic_config": {"do_sample": True, "max_new_tokens": int(SECONDS * 49.9), "eos_token_id": SEMANTIC_TOKENS},
        "coarse_acoustics_config": {"do_sample": True, "n_coarse_codebooks": COARSE_CODEBOOKS},
        "fine_acoustics_config": {"temperature": 0.5, "n_fine_codebooks": CODEBOOKS},
    }


def _save_bark_tokenizer(folder: Path) -> None:
    from transformers import BertTokenizerFast

    letters = [letter for letter in LETTERS if letter != " "]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), ".", ","]
    BertTokenizerFast({word: number for number, word in enumerate(words)}).save_pretrained(folder)


def _save_presets(folder: Path) -> None:
    """Half a second of somebody's voice each, in the three forms that the three models go on from."""
    import numpy as np

    chance = np.random.default_rng(SEED)
    listing: dict[str, Any] = {"repo_or_path": str(folder)}
    for preset in PRESETS:
        frames = int(SECONDS * 75)
        fine = chance.integers(0, CODES, (CODEBOOKS, frames))
        prompts = {
            "semantic_prompt": chance.integers(0, SEMANTIC_TOKENS, int(SECONDS * 49.9)),
            "coarse_prompt": fine[:COARSE_CODEBOOKS],
            "fine_prompt": fine,
        }
        listing[preset] = {kind: f"speaker_embeddings/{preset}_{kind}.npy" for kind in prompts}
        for kind, codes in prompts.items():
            path = folder / listing[preset][kind]
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, codes)
    (folder / "speaker_embeddings_path.json").write_text(json.dumps(listing))
