"""`pocket-qwen-tts`: a Qwen3-TTS CustomVoice of random weights with two speakers. Its audio has no words.

Made with the packages of qwen-tts.txt.
"""

import json
from pathlib import Path
from typing import Any

from local_models.chat import CORPUS, SEED

WIDTH = 32
CODES, CODEBOOKS = 64, 4
SPEAKERS = {"vivian": 66, "ryan": 67}
LANGUAGES = {"english": 68, "german": 69}
# Of the talker: the codes of audio, then 1024 marks, of which it generates only the end.
VOCABULARY = CODES + 1024
TALKER_SCALE, CODEC_SCALE = 25.0, 12.0
EVENNESS, LOUDNESS = 0.1, 10.0
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>"]


def make_qwen_tts_model(folder: Path) -> None:
    """Write the model, its tokenizer and its codec into `folder`."""
    import torch
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration

    torch.manual_seed(SEED)
    ids = _save_tokenizer(folder)
    layer: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "num_code_groups": CODEBOOKS,
    }
    talker = layer | {
        "vocab_size": VOCABULARY,
        "text_hidden_size": WIDTH,
        "text_vocab_size": len(ids),
        "rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "interleaved": True},
        "code_predictor_config": layer | {"vocab_size": CODES},
        "codec_eos_token_id": VOCABULARY - 1,
        "codec_pad_id": 70,
        "codec_bos_id": 71,
        "codec_think_id": 72,
        "codec_nothink_id": 73,
        "codec_think_bos_id": 74,
        "codec_think_eos_id": 75,
        "spk_id": SPEAKERS,
        "spk_is_dialect": dict.fromkeys(SPEAKERS, False),
        "codec_language_id": LANGUAGES,
    }
    config = Qwen3TTSConfig(
        talker_config=talker,
        tokenizer_type="qwen3_tts_tokenizer_12hz",
        tts_model_size="1b7",
        tts_model_type="custom_voice",
        im_start_token_id=ids["<|im_start|>"],
        im_end_token_id=ids["<|im_end|>"],
        tts_pad_token_id=ids["<tts_pad>"],
        tts_bos_token_id=ids["<tts_text_bos>"],
        tts_eos_token_id=ids["<tts_text_eod>"],
    )
    model = Qwen3TTSForConditionalGeneration(config)
    _enlarge(model, TALKER_SCALE)
    with torch.no_grad():  # so that the one token that is the speaker matters: all weigh alike, and much
        for block in model.talker.model.layers:
            block.self_attn.q_norm.weight.fill_(EVENNESS)
            block.self_attn.o_proj.weight.mul_(LOUDNESS)
    model.save_pretrained(folder)
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    del saved["speaker_encoder_config"]  # of models that copy voices; the package cannot read what it writes there
    path.write_text(json.dumps(saved))
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "max_new_tokens": 12}))
    _save_codec(folder / "speech_tokenizer")


def _enlarge(model: Any, scale: float) -> None:
    """Weights as they are made are so small that all voices are alike, and nearly silent."""
    import torch

    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(scale)


def _save_codec(folder: Path) -> None:
    import torch
    from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
    from transformers import EncodecFeatureExtractor

    small: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "codebook_size": CODES,
    }
    decoder = small | {"latent_dim": WIDTH, "num_quantizers": CODEBOOKS, "decoder_dim": 32, "codebook_dim": WIDTH}
    encoder = small | {
        "num_filters": 4,
        "upsample_groups": WIDTH,
        "head_dim": 16,
        "num_quantizers": CODEBOOKS,
        "num_semantic_quantizers": 1,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
    }
    config = Qwen3TTSTokenizerV2Config(
        encoder_config=encoder, decoder_config=decoder, encoder_valid_num_quantizers=CODEBOOKS
    )
    model = Qwen3TTSTokenizerV2Model(config)
    with torch.no_grad():
        for name, weights in model.decoder.named_parameters():
            if name.endswith("embedding_sum"):
                weights.normal_()
    _enlarge(model.decoder.decoder, CODEC_SCALE)
    model.save_pretrained(folder)
    EncodecFeatureExtractor(sampling_rate=24_000).save_pretrained(folder)


def _save_tokenizer(folder: Path) -> dict[str, int]:
    """A byte-level tokenizer trained on the corpus; the id of each of its tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters, show_progress=False))
    bpe.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    Qwen2TokenizerFast(tokenizer_object=bpe).save_pretrained(folder)
    ids: dict[str, int] = bpe.get_vocab()
    return ids
